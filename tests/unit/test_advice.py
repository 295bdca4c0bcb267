"""What `hwc-retry` tells a person to do about a retry that was refused or of which nobody knows."""

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


def about(status: int, code: str = "", message: str = "no", item: Item = ENGINE) -> str:
    body = f'{{"error_code": "{code}", "error_msg": "{message}"}}'.encode()
    error = APIStatusError.of(Response(status_code=status, headers=httpx.Headers(), content=body))
    return advise(Outcome.of(item, error, attempts=1, started_at=0, seconds=0))


def unanswered(message: str, *, unknown: bool, item: Item = ENGINE) -> str:
    error = APIConnectionError(message, outcome_unknown=unknown)
    return advise(Outcome.of(item, error, attempts=1, started_at=0, seconds=0))


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (400, "SVCSTG.00501116", "There is no such engine there"),
        (400, "SVCSTG.00501149", "The engine has nothing to retry, or not now"),
        (400, "WKS.00211102", "Only failed work can be retried"),
        (400, "APIGW.0201", "Only failed work can be retried"),
        (401, "", "Check the credentials, and that they are for this region"),
        (
            401,
            "APIGW.0301",
            "Check the access key and its secret key, or the token, and this machine's clock",
        ),
        (401, "APIG.0301", "Check the access key and its secret key"),
        (401, "APIGW.0303", "The gateway reads this as the key of an app"),
        (401, "APIGW.0305", "Check the credentials, and --endpoint"),
        (401, "APIGW.0307", "The token has expired (after 24 hours), or is for another region"),
        (403, "APIGW.0302", "An access list of the gateway blocks this IAM user"),
        (403, "APIGW.0310", "The project cannot be used"),
        (403, "WKS.00081102", "The IAM user needs the action cse:engine:update in this project"),
        (404, "APIGW.0101", "The gateway has no such API there: check --region and --endpoint"),
        (404, "WKS.00211902", "Not found"),
        (405, "APIG.0501", "The call quota is used up"),
        (405, "WKS.00000405", "Check --endpoint"),
        (429, "APIGW.0308", "Throttled: try again in a few seconds"),
        (494, "APIGW.0201", "The request is too large, most likely the token"),
        (503, "WKS.00050902", "Nothing was run: try again in a few minutes"),
        (418, "", "Nothing was run: try again in a few minutes"),
    ],
)
def test_what_to_do_follows_from_code_and_status(status: int, code: str, says: str) -> None:
    assert about(status, code).startswith(says)


@pytest.mark.parametrize("code", ["WKS.0301", "SVCSTG.0307"])
def test_a_services_own_code_is_not_taken_for_the_gateways(code: str) -> None:
    assert about(401, code) == about(401)


@pytest.mark.parametrize(
    "message",
    [
        "Incorrect IAM authentication information: Ak access failed to reach the limit,forbidden",
        "the key is locked",
    ],
)
def test_a_locked_key_is_to_be_left_alone(message: str) -> None:
    assert about(401, "APIGW.0301", message).startswith(
        "The access key is locked: wait five minutes"
    )


@pytest.mark.parametrize("status", [500, 502, 504, 499])
def test_of_an_unknown_outcome_the_thing_is_to_be_looked_at_first(status: int) -> None:
    assert about(status, "APIGW.0301").startswith("Check the engine's last job before you resend this")
    assert about(status, item=SCRIPT).startswith(
        "Check the script's execution records before you resend this"
    )
    assert unanswered("ReadTimeout", unknown=True) == about(status)
    for item, command in (
        (ENGINE, "hwc-retry status ENGINE_ID"),
        (SCRIPT, "hwc-retry status --record-id ID or --task-id ID"),
    ):
        assert f", with {command} (after a bulk: hwc-retry resolve JOURNAL): " in about(status, item=item)


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (400, "WKS.00211102", "Not found: check the ID"),
        (403, "WKS.00081102", "The IAM user needs the action workspace:scripts:listRecords in this project"),
        (
            403,
            "APIGW.0302",
            "An access list of the gateway blocks this IAM user: ask the administrator of the account. Reading needs",
        ),
        (404, "APIGW.0101", "The gateway has no such API there"),
        (502, "", "Try again in a few minutes."),
    ],
)
def test_what_to_do_about_a_failed_read_says_nothing_of_what_was_run(
    status: int, code: str, says: str
) -> None:
    content = json.dumps({"error_code": code, "error_msg": "no"}).encode()
    error = APIStatusError.of(Response(status_code=status, headers=httpx.Headers(), content=content))
    assert advise_read("ListScriptRecords", error).startswith(says)


def test_what_never_arrived_is_a_matter_of_the_way() -> None:
    assert unanswered("ConnectError", unknown=False).startswith("Check --region, --endpoint, the network")
    message = "ConnectError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"
    assert "SSL_CERT_FILE" in unanswered(message, unknown=False)


def test_what_iam_refuses_is_not_explained_by_the_gateways_codes() -> None:
    message = "IAM refused to give a token: 401: no; check user_name"
    outcome = Outcome(item=ENGINE, verdict="refused", message=message, status=401, started_at=0, seconds=0)
    assert advise(outcome) == "No token, so nothing was sent: see the error of IAM."


def test_the_iam_actions_are_the_specs() -> None:
    operations = [
        operation
        for path in SPEC["paths"].values()
        for operation in path.values()
        if "operationId" in operation
    ]
    assert {o["operationId"]: o["x-iam-action"]["action"] for o in operations} == IAM_ACTIONS
    assert IAM_ACTIONS["RetryScriptExecution"] in about(403, item=SCRIPT)


def test_the_librarys_arguments_are_called_as_on_the_command_line() -> None:
    said = "no region: give region=, or endpoint=; give credentials=; use https, or allow_http=True on a network of your own"
    assert in_options(said) == "no region: give --region, or --endpoint; give --token-file; use https"
