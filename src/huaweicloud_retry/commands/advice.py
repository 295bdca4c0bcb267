"""What to do about a retry that did not go through, or of which nobody knows whether it did.

Codes of the gateway: https://support.huaweicloud.com/devg-apisign/api-sign-errorcode.html and, where its prefix is APIG,
https://support.huaweicloud.com/usermanual-apig/apig_03_0048.html. What stands before the digits differs between gateways.
"""

import re
from http import HTTPStatus
from typing import Final

from huaweicloud_retry.bulk import Item, Outcome
from huaweicloud_retry_client import APIError, APIStatusError, PermissionDeniedError

IAM_ACTIONS: Final = {
    "RetryEngine": "cse:engine:update",
    "RetryScriptExecution": "workspace:scripts:retry",
    "ShowEngine": "cse:engine:get",
    "ShowEngineJob": "cse:engine:get",
    "ListScriptRecords": "workspace:scripts:listRecords",
    "ShowScriptRecordDetail": "workspace:scripts:getRecordDetail",
}
"""By operation: what an IAM user must be allowed, as the spec's x-iam-action has it."""

_LOCK: Final = "Correct it before you try again: five wrong signatures lock an access key for five minutes."
_GATEWAY: Final = {
    "0101": "The gateway has no such API there: check --region and --endpoint.",
    "0301": f"Check the access key and its secret key, or the token, and this machine's clock: 15 minutes off is refused. {_LOCK}",
    "0302": "A list of the gateway keeps this IAM user out: ask the administrator of the account.",
    "0303": f"The gateway takes this for an app's key: check the access key, and --endpoint. {_LOCK}",
    "0305": f"Check the credentials, and --endpoint. {_LOCK}",
    "0306": "The gateway refuses access to this API: ask the administrator of the account.",
    "0307": "The token has expired (it lasts 24 hours), or is of another region: get a new one of --region.",
    "0310": "The project cannot be used: check --project-id, and that it is neither frozen nor of another region.",
    "0401": "The gateway does not let in this machine's address: ask the administrator of the account.",
    "0402": "The gateway does not let in this machine's address: ask the administrator of the account.",
    "0501": "The quota of calls is used up: ask the administrator of the account.",
    "0502": "The app is frozen: ask the administrator of the account.",
    "0607": "The gateway does not take this protocol: begin --endpoint with https.",
    "0802": "This IAM user is barred in this region: ask the administrator of the account.",
}
_LATER: Final = "Nothing was run: try again in a few minutes."
_LARGE: Final = "What was sent is too large, most likely the token: check --token-file, or use an access key."
_BY_STATUS: Final = {
    400: "Only what has failed can be retried: look at its state, and check the ID, --project-id and --region.",
    401: f"Check the credentials, and that they are of this region. {_LOCK}",
    404: "There is no such thing there: check the ID, --project-id and --region.",
    405: "Check --endpoint: what answers there does not have this operation.",
    413: _LARGE,
    414: _LARGE,
    429: "Throttled: try again in a few seconds, as Huawei Cloud advises; many at once with a lower --rate.",
    494: _LARGE,
    503: _LATER,
}
_SERVICE: Final = {
    "SVCSTG.00501116": "There is no such engine there: check the ID, --project-id and --region.",
    "SVCSTG.00501149": "The engine has nothing to retry, or not now: look with hwc-retry status ENGINE_ID, and try again "
    "later if its job has failed.",
}
_OF_BULK: Final = "(of a bulk: hwc-retry resolve JOURNAL)"
_UNKNOWN: Final = {
    "RetryEngine": "Look at the engine's last job before you send this again, with hwc-retry status ENGINE_ID "
    f"{_OF_BULK}: if it runs or has finished, this went through. Only one with status Error or Timeout can be retried.",
    "RetryScriptExecution": "Look at the script's execution records before you send this again, with hwc-retry status "
    f"--record-id ID or --task-id ID {_OF_BULK}: if one runs or has begun since, this went through, and sent again the "
    "script runs twice.",
}
_OF_READS: Final = {_BY_STATUS[400]: _BY_STATUS[404], _LATER: "Try again in a few minutes."}
# The gateway's texts beside 0301: https://support.huaweicloud.com/ocr_faq/ocr_01_0063.html
_LOCKED: Final = re.compile(r"reach(ed)? the limit|limit (is |was )?reached|\block(ed)?\b", re.IGNORECASE)


def advise(outcome: Outcome) -> str:
    """Return what to do next about an outcome that is not `accepted`, in one line; the same for the same reason."""
    if outcome.verdict == "unknown":
        return _UNKNOWN[outcome.item.operation]
    return _advice(outcome.item.operation, outcome.status, outcome.error_code or "", outcome.message)


def advise_read(operation: str, error: APIError) -> str:
    """Return what to do next about a read that failed, in one line."""
    code = error.error_code if isinstance(error, APIStatusError) else None
    advice = _advice(operation, getattr(error, "status_code", None), code or "", str(error))
    advice, action = _OF_READS.get(advice, advice), IAM_ACTIONS[operation]
    is_missing = isinstance(error, PermissionDeniedError) and action not in advice
    return f"{advice} To read needs the action {action}." if is_missing else advice


def operation_that_reads(item: Item) -> str:
    """Return the operation by which an item is looked at."""
    if item.engine_id is not None:
        return "ShowEngineJob"
    return "ListScriptRecords" if item.record_id is None else "ShowScriptRecordDetail"


def _advice(operation: str, status: int | None, code: str, message: str) -> str:
    if status is None:
        return _unreached(message)
    if message.startswith("IAM "):
        return "No token, so nothing was sent: see what IAM says."
    if status == HTTPStatus.UNAUTHORIZED and _LOCKED.search(message):
        return "The access key is locked: leave it alone for five minutes, correct secret key or clock, and try once."
    gateway = re.fullmatch(r"(?:API\w*\.)?(\d{4})", code)
    missing = f"The IAM user needs the action {IAM_ACTIONS[operation]} in this project: ask the administrator, or check --project-id."
    by_status = {**_BY_STATUS, HTTPStatus.FORBIDDEN: missing}.get(status, _LATER)
    return (_GATEWAY.get(gateway[1]) if gateway else _SERVICE.get(code)) or by_status


def _unreached(message: str) -> str:
    if "CERTIFICATE" in message.upper():
        return "If a proxy of yours answers with its own certificate, set SSL_CERT_FILE to its CA."
    return "Check --region, --endpoint, the network, and HTTPS_PROXY if there is a proxy."


def in_options(text: str) -> str:
    """Return what the library says of its arguments in the words of the command line."""
    text = text.replace(", or allow_http=True on a network of your own", "")
    for argument, option in (
        ("region=", "--region"),
        ("endpoint=", "--endpoint"),
        ("credentials=", "--token-file"),
        ("journal=", "--journal"),
        ("operation=", "--operation"),
        ("allow_odd_ids=True", "--allow-odd-ids"),
        ("project_id missing", "project_id missing: name it, or give --project-id for all"),
    ):
        text = text.replace(argument, option)
    return text
