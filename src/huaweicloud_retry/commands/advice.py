"""Advice for refused and unknown outcomes.

Codes of the gateway: https://support.huaweicloud.com/devg-apisign/api-sign-errorcode.html and, with the
prefix APIG, https://support.huaweicloud.com/usermanual-apig/apig_03_0048.html. The prefix differs between
gateways.
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
"""By operation: the permission that an IAM user needs, x-iam-action in the spec."""

_LOCK: Final = "Correct it before you try again: five wrong signatures lock an access key for five minutes."
_GATEWAY: Final = {
    "0101": "The gateway has no such API there: check --region and --endpoint.",
    "0301": "Check the access key and its secret key, or the token, and this machine's clock: "
    f"15 minutes off is refused. {_LOCK}",
    "0302": "An access list of the gateway blocks this IAM user: ask the administrator of the account.",
    "0303": f"The gateway reads this as the key of an app: check the access key, and --endpoint. {_LOCK}",
    "0305": f"Check the credentials, and --endpoint. {_LOCK}",
    "0306": "The gateway refuses access to this API: ask the administrator of the account.",
    "0307": "The token has expired (after 24 hours), or is for another region: get a new one for --region.",
    "0310": "The project cannot be used: is it frozen, or in another region? Check --project-id.",
    "0401": "The gateway blocks this machine's IP address: ask the administrator of the account.",
    "0402": "The gateway blocks this machine's IP address: ask the administrator of the account.",
    "0501": "The call quota is used up: ask the administrator of the account.",
    "0502": "The app is frozen: ask the administrator of the account.",
    "0607": "The gateway does not support this protocol: begin --endpoint with https.",
    "0802": "This IAM user is blocked in this region: ask the administrator of the account.",
}
_LATER: Final = "Nothing was run: try again in a few minutes."
_LARGE: Final = "The request is too large, most likely the token: check --token-file, or use an access key."
_BY_STATUS: Final = {
    400: "Only failed work can be retried: check its state, the ID, --project-id and --region.",
    401: f"Check the credentials, and that they are for this region. {_LOCK}",
    404: "Not found: check the ID, --project-id and --region.",
    405: "Check --endpoint: the server there does not have this operation.",
    413: _LARGE,
    414: _LARGE,
    429: "Throttled: try again in a few seconds, as Huawei Cloud advises; for bulk, with a lower --rate.",
    494: _LARGE,
    503: _LATER,
}
_SERVICE: Final = {
    "SVCSTG.00501116": "There is no such engine there: check the ID, --project-id and --region.",
    "SVCSTG.00501149": "The engine has nothing to retry, or not now: check with hwc-retry status ENGINE_ID, "
    "and try again later if its job has failed.",
}
_OF_BULK: Final = "(after a bulk: hwc-retry resolve JOURNAL)"
_UNKNOWN: Final = {
    "RetryEngine": "Check the engine's last job before you resend this, with hwc-retry status ENGINE_ID "
    f"{_OF_BULK}: if it runs or has finished, this went through. "
    "Only a job with status Error or Timeout can be retried.",
    "RetryScriptExecution": "Check the script's execution records before you resend this, with hwc-retry "
    f"status --record-id ID or --task-id ID {_OF_BULK}: if one runs or has begun since, this went through, "
    "and a resend runs the script twice.",
}
_OF_READS: Final = {_BY_STATUS[400]: _BY_STATUS[404], _LATER: "Try again in a few minutes."}
# Other texts of 0301: https://support.huaweicloud.com/ocr_faq/ocr_01_0063.html
_LOCKED: Final = re.compile(r"reach(ed)? the limit|limit (is |was )?reached|\block(ed)?\b", re.IGNORECASE)


def advise(outcome: Outcome) -> str:
    """Return advice for a refused or unknown outcome, in one line; the same for the same reason."""
    if outcome.verdict == "unknown":
        return _UNKNOWN[outcome.item.operation]
    return _advice(outcome.item.operation, outcome.status, outcome.error_code or "", outcome.message)


def advise_read(operation: str, error: APIError) -> str:
    """Return advice for a failed read, in one line."""
    code = error.error_code if isinstance(error, APIStatusError) else None
    advice = _advice(operation, getattr(error, "status_code", None), code or "", str(error))
    advice, action = _OF_READS.get(advice, advice), IAM_ACTIONS[operation]
    is_missing = isinstance(error, PermissionDeniedError) and action not in advice
    return f"{advice} Reading needs the action {action}." if is_missing else advice


def read_operation(item: Item) -> str:
    """Return the operation that reads the state of an item."""
    if item.engine_id is not None:
        return "ShowEngineJob"
    return "ListScriptRecords" if item.record_id is None else "ShowScriptRecordDetail"


def _advice(operation: str, status: int | None, code: str, message: str) -> str:
    if status is None:
        return _unreached(message)
    if message.startswith("IAM "):
        return "No token, so nothing was sent: see the error of IAM."
    if status == HTTPStatus.UNAUTHORIZED and _LOCKED.search(message):
        return (
            "The access key is locked: wait five minutes, correct the secret key or the clock, and try once."
        )
    gateway = re.fullmatch(r"(?:API\w*\.)?(\d{4})", code)
    known = _GATEWAY.get(gateway[1]) if gateway else _SERVICE.get(code)
    if known is None and status == HTTPStatus.FORBIDDEN:
        needed = f"The IAM user needs the action {IAM_ACTIONS[operation]} in this project"
        return f"{needed}: ask the administrator, or check --project-id."
    return known or _BY_STATUS.get(status, _LATER)


def _unreached(message: str) -> str:
    if "CERTIFICATE" in message.upper():
        return "If your proxy has its own certificate, set SSL_CERT_FILE to its CA."
    return "Check --region, --endpoint, the network, and HTTPS_PROXY if there is a proxy."


def in_options(text: str) -> str:
    """Replace the names of arguments in an error of the library by command-line options."""
    text = text.replace(", or allow_http=True on a network of your own", "")
    for argument, option in (
        ("region=", "--region"),
        ("endpoint=", "--endpoint"),
        ("credentials=", "--token-file"),
        ("operation=", "--operation"),
        ("allow_odd_ids=True", "--allow-odd-ids"),
        ("project_id missing", "project_id missing: name it, or give --project-id for all"),
    ):
        text = text.replace(argument, option)
    return text
