"""What the contract suite asks beyond schemathesis's own checks, and the cases that it adds to schemathesis's own.

agrees_with_contract    contract.py, which the mock relies on, finds nothing wrong with the answer either
CredentialsAndFormAreChecked
                        a good signature is let in; no, wrong, altered and outdated credentials are not, nor is what is no
                        JSON, or nearly valid; where there is nothing to retry, the error code is the one for that
EveryStatusIsReached    each documented status came up, so that no promise goes untested
add_statuses            cases for the statuses that the mock answers only when asked to
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, cast
from urllib.parse import unquote

import httpx
import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response
from schemathesis.core.failures import Failure

from huaweicloud_retry import signing
from huaweicloud_retry.contract import Contract, Operation
from huaweicloud_retry.mock.handlers import HANDLERS
from huaweicloud_retry.parsing import read_yaml
from tests.contract.curl import curl

# Which answers each operation has to requests without `Prefer: code=…`. The others are asked for; 413, 414 and 494 are for
# requests of many kilobytes too, which the mock's own tests send.
UNASKED = {200, 400, 401, 405}

# How the codes begin with which CSE refuses a valid request, such as one for an unknown engine.
BY_THE_SERVICE = "SVCSTG."

# The credentials in it are those that will do.
STATE = Path(__file__).with_name("state.yaml")
_CREDENTIALS: Any = cast("dict[str, Any]", read_yaml(STATE.read_bytes()))["credentials"]
(TOKEN,) = _CREDENTIALS["tokens"]
KEYS: tuple[str, str] = next((access, key["secret_key"]) for access, key in _CREDENTIALS["access_keys"].items())
"""Access key and secret key."""

contract = Contract.load()
"""What the run under way holds answers to. Who starts one sets it."""

answers: Counter[tuple[str, int]] = Counter()
"""How many answers had which status, by operation ID. Of one run: who starts another clears it."""


def _operation(case: Case[Any]) -> Operation:
    return next(operation for operation in contract.operations if operation.id == _id(case))


def _id(case: Case[Any]) -> str:
    id_: str = case.operation.definition.raw["operationId"]
    return id_


def _wish(case: Case[Any]) -> int | None:
    """Return the status that a case asks for."""
    code = str(case.headers.get("Prefer", "")).removeprefix("code=")
    return int(code) if code else None


@schemathesis.hook("before_add_examples")
def add_statuses(context: HookContext, examples: list[Case[Any]]) -> None:
    operation = context.operation
    assert operation is not None  # it is one operation's examples
    example = examples[0]
    given: dict[str, Any] = {"body": example.body, "media_type": example.media_type} if example.media_type else {}
    examples += [
        operation.Case(path_parameters=example.path_parameters, headers={"Prefer": f"code={status}"}, **given)
        for status in sorted({*_operation(example).statuses} - UNASKED)
    ]


@schemathesis.hook
def filter_failure(_context: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    """Drop what is no failure: an answer that the case asked for, and a rule that no schema of a parameter can say."""
    if _wish(case) == response.status_code and failure.kind_title == "Server error":
        return False
    query = case.query or {}
    named = query.get("resource_id") and query.get("script_id")
    history_of_nothing = query.get("show_history") == "true" and not named
    return not (history_of_nothing and failure.title == "Schema-valid request rejected")


@schemathesis.check
def agrees_with_contract(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    operation = _operation(case)
    problems = operation.check_response(response.status_code, _headers(response), response.content)
    assert not problems, "; ".join(map(str, problems))
    if response.status_code == 200 and operation.id in HANDLERS:
        (*_, name) = re.findall(r"{(\w+)}", operation.path)  # of what the answer is about
        asked, named = unquote(case.path_parameters[name]), str(response.json().get("id", ""))
        assert named in {asked, ""}, f"asked was for {name} {asked}, and the answer is about {named}"
    if response.status_code == 400 and case.meta and "CSE" in operation.tags:
        code = response.json()["error_code"]
        if case.meta.generation.mode.is_positive:
            assert code.startswith(BY_THE_SERVICE), f"a valid request is refused as invalid: {code}"
        else:
            assert not code.startswith(BY_THE_SERVICE), f"an invalid request is refused as if it were valid: {code}"


def _headers(response: Response) -> dict[str, str]:
    return {name: ", ".join(values) for name, values in response.headers.items()}


@schemathesis.check
class CredentialsAndFormAreChecked:
    """Once for each operation, with the first request that was accepted: what schemathesis does not send."""

    def __init__(self) -> None:
        self._done: set[str] = set()

    def after_response(self, ctx: CheckContext, response: Response, case: Case[Any]) -> None:
        if response.status_code != 200 or _id(case) in self._done:
            return
        self._done.add(_id(case))
        sent, operation = response.request, _operation(case)
        assert isinstance(sent.body, bytes | None)
        headers = {"Content-Type": str(sent.headers["Content-Type"])} if sent.body else {}
        request = httpx.Request(str(sent.method), str(sent.url), headers=headers, content=sent.body or b"")
        with httpx.Client(trust_env=False) as client:
            wrong = [
                problem for attempt in attempts(request, operation) if (problem := _try(attempt, client, operation))
            ]
        assert not wrong, "\n".join(wrong)


class Attempt(NamedTuple):
    """A valid request, in some other guise."""

    what: str
    status: int
    """The one to expect."""
    request: httpx.Request
    code: str = ""
    """The error code to expect; if none, any but those of a valid request."""


def _try(attempt: Attempt, client: httpx.Client, operation: Operation) -> str:
    """Send it, and say what is wrong with the answer; nothing if all is right."""
    request = attempt.request
    answer = client.send(request)
    answers[operation.id, answer.status_code] += 1
    problems = (
        [] if answer.status_code == attempt.status else [f"status {answer.status_code}, and not {attempt.status}"]
    )
    if request.method != "HEAD":  # the answer to which has no body
        problems += map(str, operation.check_response(answer.status_code, answer.headers, answer.content))
    code = _error_code(answer.content)
    if code != attempt.code if attempt.code else str(code).startswith(BY_THE_SERVICE):
        problems.append(f"error code {code}, and not {attempt.code or 'one of an invalid request'}")
    line = curl(request.method, request.url.raw_path.decode(), request.headers, request.content, token=TOKEN)
    return f"{attempt.what}: {'; '.join(problems)}\n  {line}" if problems else ""


def _error_code(content: bytes) -> object:
    try:
        return dict(json.loads(content)).get("error_code")
    except (TypeError, ValueError):
        return None


def attempts(request: httpx.Request, operation: Operation) -> Iterator[Attempt]:
    """Yield a valid request in several guises."""
    unknown = 401 if operation.security else 200
    by_signature = 200 if frozenset({"Signature"}) in operation.security else unknown
    hour = timedelta(hours=1)
    other_path, other_method = with_(request, path="/v2/other"), with_(request, method="PATCH")
    yield Attempt("a good signature", by_signature, signed(request))
    for what, wrong in {
        "an unknown access key": signed(request, access_key="no-such-key"),
        "a wrong secret key": signed(request, secret_key="no-such-secret"),
        "a signature of an hour ago": signed(request, date=datetime.now(UTC) - hour),
        "a signature of the next hour": signed(request, date=datetime.now(UTC) + hour),
        "a signature of another body": with_(signed(request), content=request.content + b" "),
        "a signature of another path": with_(signed(other_path), path=request.url.raw_path.decode()),
        "a signature of another method": with_(signed(other_method), method=request.method),
        "a signature without Host": signed(request, without="Host"),
        "a signature without X-Sdk-Date": signed(request, without="X-Sdk-Date"),
        "a wrong token": with_(request, {"X-Auth-Token": "no-such-token"}),
        "an empty token": with_(request, {"X-Auth-Token": ""}),
        "a token with more at its end": with_(request, {"X-Auth-Token": f"{TOKEN}x"}),
        "no credentials": request,
    }.items():
        yield Attempt(what, unknown, wrong)
    known = with_(request, {"X-Auth-Token": TOKEN})
    if operation.takes_body:
        yield Attempt("no body", 400, with_(known, content=b""))
        yield Attempt("half the body", 400, with_(known, content=request.content[: len(request.content) // 2]))
        yield Attempt("a list", 400, with_(known, content=b"[" + request.content + b"]"))
        yield Attempt("the body as text", 400, with_(known, {"Content-Type": "text/plain"}))
    yield Attempt("HEAD", 405, with_(known, method="HEAD", content=b""))
    if operation.id in HANDLERS:
        path = request.url.raw_path.decode().replace("/demo-project/", "/another-project/")
        yield Attempt("another project", 403, with_(known, path=path), "APIGW.0310")
    if operation.id in _OF:
        yield from _OF[operation.id](known)


def _of_engines(known: httpx.Request) -> Iterator[Attempt]:
    for action in ("retry", " Retry ", ["Retry"]):
        yield Attempt(f"the action {action!r}", 400, with_(known, content=json.dumps({"action": action}).encode()))
    for engine, code in {"no-such-engine": "SVCSTG.00501116", "engine-without-failed-job": "SVCSTG.00501149"}.items():
        path = re.sub("(?<=/engines/)[^/]+", engine, known.url.raw_path.decode())
        yield Attempt(engine, 400, with_(known, path=path), code)


def _of_jobs(known: httpx.Request) -> Iterator[Attempt]:
    for job, code in {"no-such-job": "SVCSTG.00501152", "1": "SVCSTG.00501153"}.items():
        path = re.sub("(?<=/jobs/)[^/]+", job, known.url.raw_path.decode())
        yield Attempt(f"job {job}", 400, with_(known, path=path), code)


def _of_records(known: httpx.Request) -> Iterator[Attempt]:
    path = re.sub("[^/]+$", "no-such-record", known.url.raw_path.decode())
    yield Attempt("no such record", 404, with_(known, path=path), "WKS.00211902")


def _of_scripts(known: httpx.Request) -> Iterator[Attempt]:
    for named in ({"record_id": "no-such-record"}, {"task_id": "no-such-task"}, {}):
        yield Attempt(str(named), 404, with_(known, content=json.dumps(named).encode()), "WKS.00211902")
    for named in ({"record_id": "record-that-succeeded"}, {"task_id": "task-without-failed-record"}):
        yield Attempt(str(named), 400, with_(known, content=json.dumps(named).encode()), "WKS.00211102")


# What an operation has to refuse beyond what the spec says.
_OF: Mapping[str, Callable[[httpx.Request], Iterable[Attempt]]] = {
    "RetryEngine": _of_engines,
    "RetryScriptExecution": _of_scripts,
    "ShowEngineJob": _of_jobs,
    "ShowScriptRecordDetail": _of_records,
}


def signed(
    request: httpx.Request,
    *,
    access_key: str = KEYS[0],
    secret_key: str = KEYS[1],
    date: datetime | None = None,
    without: str = "",
) -> httpx.Request:
    """Sign a request, but for the header `without`, which is sent nevertheless."""
    date_text = (date or datetime.now(UTC)).strftime(signing.DATE_FORMAT)
    headers = {"Host": request.headers["Host"], "X-Sdk-Date": date_text}
    covered = {name: value for name, value in headers.items() if name != without}
    canonical = signing.canonical_request(request.method, request.url.raw_path.decode(), covered, request.content)
    authorization = signing.authorization(access_key, secret_key, canonical, date_text)
    return with_(request, {**headers, "Authorization": authorization})


def with_(
    request: httpx.Request,
    headers: Mapping[str, str] = MappingProxyType({}),
    *,
    method: str = "",
    path: str = "",
    content: bytes | None = None,
) -> httpx.Request:
    merged = request.headers.copy()
    merged.update(headers)
    merged.pop("Content-Length", None)
    url = request.url.copy_with(raw_path=path.encode()) if path else request.url
    body = request.content if content is None else content
    return httpx.Request(method or request.method, url, headers=merged, content=body)


@schemathesis.check
class EveryStatusIsReached:
    """A promise that was never put to the test is not kept: of no operation of the contract, whether it was tested or not."""

    def after_response(self, ctx: CheckContext, response: Response, case: Case[Any]) -> None:
        answers[_id(case), response.status_code] += 1

    def after_run(self, ctx: CheckContext) -> None:
        missing = [
            f"{operation.id} never answered {status}"
            for operation in contract.operations
            for status in operation.statuses
            if not answers[operation.id, status]
        ]
        assert not missing, "; ".join(missing)
