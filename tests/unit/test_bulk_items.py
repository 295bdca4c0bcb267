"""One retry, and what came of it."""

import json
from dataclasses import replace

import httpx
import pytest

from huaweicloud_retry.bulk import Item, Outcome
from huaweicloud_retry_client import APIConnectionError, Response
from huaweicloud_retry_client.models import EngineActionResponse, RetryScriptExecutionResponse

ENGINE = Item(operation="RetryEngine", project_id="p", engine_id="e", enterprise_project_id="0")
SCRIPT = Item(
    operation="RetryScriptExecution", project_id="p", record_id="r", task_id="t", region="cn-north-4"
)


def response(status: int, parsed: object = None, **body: object) -> Response[object]:
    content = json.dumps(body).encode()
    headers = httpx.Headers({"X-Request-Id": "id"})
    return Response(status_code=status, headers=headers, content=content, parsed=parsed)


def outcome(item: Item, came: Response[object] | APIConnectionError) -> Outcome:
    return Outcome.of(item, came, attempts=2, started_at=5.0, seconds=0.5)


def test_the_same_retry_has_the_same_key_and_another_has_another() -> None:
    again = Item(operation="RetryEngine", enterprise_project_id="0", engine_id="e", project_id="p")
    assert again.key == ENGINE.key
    assert json.loads(ENGINE.key) == ENGINE.fields()
    assert Item.of(json.loads(SCRIPT.key)) == SCRIPT
    assert len({ENGINE.key, SCRIPT.key, replace(ENGINE, enterprise_project_id=None).key}) == 3


def test_it_names_what_is_retried() -> None:
    assert ENGINE.name == "engine e"
    assert SCRIPT.name == "record r, task t"
    assert (ENGINE.service, SCRIPT.service) == ("cse", "workspace")


@pytest.mark.parametrize(
    ("item", "parsed", "message"),
    [
        (ENGINE, EngineActionResponse(id="e", name="n", job_id=18638), "job 18638"),
        (SCRIPT, RetryScriptExecutionResponse(task_id="t2"), "task t2"),
    ],
)
def test_a_good_response_is_accepted(item: Item, parsed: object, message: str) -> None:
    came = outcome(item, response(200, parsed))
    assert (came.verdict, came.message, came.status) == ("accepted", message, 200)
    assert came.response == parsed.to_dict()  # type: ignore[attr-defined] # a model
    assert came.attempts == 2


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(400, "refused"), (401, "refused"), (429, "refused"), (503, "refused"), (502, "unknown")],
)
def test_an_error_is_refused_or_unknown_as_it_says_itself(status: int, verdict: str) -> None:
    came = outcome(ENGINE, response(status, error_code="CODE.1", error_msg="Why."))
    assert (came.verdict, came.status, came.error_code, came.request_id) == (verdict, status, "CODE.1", "id")
    assert came.message == f"{status} CODE.1: Why. [request id id]"


@pytest.mark.parametrize(("unknown", "verdict"), [(True, "unknown"), (False, "refused")])
def test_no_response_is_unknown_unless_nothing_was_sent(unknown: bool, verdict: str) -> None:
    came = outcome(ENGINE, APIConnectionError("no response", unknown))
    assert (came.verdict, came.status, came.message) == (verdict, None, "no response")


def test_a_200_that_breaks_the_contract_is_unknown() -> None:
    invalid = Response[object](status_code=200, headers=httpx.Headers(), content=b"", problem="no JSON")
    came = outcome(ENGINE, invalid)
    assert (came.verdict, came.status, came.error_code) == ("unknown", 200, None)


def test_as_json_it_has_the_fields_of_the_item_and_its_own() -> None:
    came = outcome(ENGINE, response(200, EngineActionResponse(id="e", name="n", job_id=1)))
    told = came.to_dict()
    assert list(told)[:2] == ["verdict", "operation"]
    own = {"verdict": "accepted", "message": "job 1", "status": 200, "attempts": 2, "seconds": 0.5}
    own |= {"response": {"id": "e", "name": "n", "jobId": 1}, "started_at": "1970-01-01T00:00:05.000Z"}
    own |= dict.fromkeys(("error_code", "request_id", "seen", "ended"))
    assert told == {**ENGINE.fields(), **own}
