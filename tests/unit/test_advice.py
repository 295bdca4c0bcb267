"""What `hwc-retry` advises after a retry that was refused or whose outcome is unknown."""

import json

import httpx
import pytest

from huaweicloud_retry.bulk import Item, Outcome
from huaweicloud_retry.commands.advice import IAM_ACTIONS, advise, advise_read, in_options
from huaweicloud_retry_client import APIConnectionError, Response
from huaweicloud_retry_client.errors import APIStatusError
from tests.callers import SPEC

ENGINE = Item(operation="RetryEngine", project_id="p", engine_id="e")
SCRIPT = Item(operation="RetryScriptExecution", project_id="p", task_id="t")


def refusal(status: int, code: str, message: str) -> APIStatusError:
    body = json.dumps({"error_code": code, "error_msg": message}).encode()
    return APIStatusError.of(Response(status_code=status, headers=httpx.Headers(), content=body))


def about(status: int, code: str = "", message: str = "no", item: Item = ENGINE) -> str:
    return advise(Outcome.of(item, refusal(status, code, message), attempts=1, started_at=0, seconds=0))


def no_response(message: str, *, unknown: bool, item: Item = ENGINE) -> str:
    error = APIConnectionError(message, outcome_unknown=unknown)
    return advise(Outcome.of(item, error, attempts=1, started_at=0, seconds=0))


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (400, "SVCSTG.00501116", "no such engine"),
        (400, "SVCSTG.00501149", "nothing to retry"),
        (400, "WKS.00211102", "Only failed work"),
        (400, "APIGW.0201", "Only failed work"),
        (401, "", "Check the credentials, and that they are for this region"),
        (401, "APIGW.0301", "Check the access key and its secret key"),
        (401, "APIG.0301", "Check the access key and its secret key"),
        (401, "APIGW.0303", "the key of an app"),
        (401, "APIGW.0305", "Check the credentials, and --endpoint"),
        (401, "APIGW.0307", "The token has expired"),
        (403, "APIGW.0302", "An access list of the gateway"),
        (403, "APIGW.0310", "The project cannot be used"),
        (403, "WKS.00081102", "needs the action cse:engine:update in this project"),
        (404, "APIGW.0101", "The gateway has no such API there: check --region and --endpoint"),
        (404, "WKS.00211902", "Not found"),
        (405, "APIG.0501", "quota"),
        (405, "WKS.00000405", "Check --endpoint"),
        (429, "APIGW.0308", "Throttled"),
        (494, "APIGW.0201", "too large"),
        (503, "WKS.00050902", "Nothing was run: try again"),
        (418, "", "Nothing was run: try again"),
    ],
)
def test_what_to_do_follows_from_code_and_status(status: int, code: str, says: str) -> None:
    assert says in about(status, code)


@pytest.mark.parametrize("code", ["WKS.0301", "SVCSTG.0307"])
def test_a_services_own_code_is_not_taken_for_the_gateways(code: str) -> None:
    assert about(401, code) == about(401)


@pytest.mark.parametrize(
    "message", ["no: Ak access failed to reach the limit,forbidden", "the key is locked"]
)
def test_a_locked_key_is_to_be_left_alone(message: str) -> None:
    assert about(401, "APIGW.0301", message).startswith("The access key is locked: ")


@pytest.mark.parametrize("status", [500, 502, 504, 499])
@pytest.mark.parametrize(
    ("item", "where", "command"),
    [
        (ENGINE, "the engine's last job", "hwc-retry status ENGINE_ID"),
        (SCRIPT, "the script's execution records", "hwc-retry status --record-id ID or --task-id ID"),
    ],
    ids=["engine", "script"],
)
def test_after_an_unknown_outcome_the_state_is_to_be_looked_at_first(
    status: int, item: Item, where: str, command: str
) -> None:
    text = about(status, "APIGW.0301", item=item)
    assert text.startswith(f"Check {where} before you ")
    assert command in text
    assert no_response("ReadTimeout", unknown=True, item=item) == text


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (400, "WKS.00211102", "Not found: check the ID"),
        (403, "WKS.00081102", "needs the action workspace:scripts:listRecords in this project"),
        (403, "APIGW.0302", "An access list of the gateway"),
        (404, "APIGW.0101", "The gateway has no such API there"),
        (502, "", "Try again in a few minutes."),
    ],
)
def test_what_to_do_about_a_failed_read_says_nothing_of_what_was_run(
    status: int, code: str, says: str
) -> None:
    advice = advise_read("ListScriptRecords", refusal(status, code, "no"))
    assert says in advice
    assert "was run" not in advice


def test_what_never_arrived_is_a_matter_of_the_way() -> None:
    assert no_response("ConnectError", unknown=False).startswith("Check --region, --endpoint, the network")
    message = "ConnectError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"
    assert "SSL_CERT_FILE" in no_response(message, unknown=False)


def test_what_iam_refuses_is_not_explained_by_the_gateways_codes() -> None:
    message = "IAM refused to give a token: 401: no; check user_name"
    outcome = Outcome(item=ENGINE, verdict="refused", message=message, status=401, started_at=0, seconds=0)
    assert advise(outcome) == "No token, so nothing was sent: see the error of IAM."


def test_the_iam_actions_are_the_specs() -> None:
    operations = [each for path in SPEC["paths"].values() for each in path.values() if "operationId" in each]
    assert {o["operationId"]: o["x-iam-action"]["action"] for o in operations} == IAM_ACTIONS
    assert IAM_ACTIONS["RetryScriptExecution"] in about(403, item=SCRIPT)


def test_the_librarys_arguments_are_called_as_on_the_command_line() -> None:
    said = "give region=, or endpoint=; give credentials=; use https, or allow_http=True on a network of your own"
    assert in_options(said) == "give --region, or --endpoint; give --token-file; use https"
