"""What the contract suite asks beyond schemathesis's own checks, and the cases that it adds to schemathesis's own.

agrees_with_contract    contract.py, which the mock relies on, finds nothing wrong with the answer either
CredentialsAndFormAreChecked
                        a good signature is let in; no, wrong, altered and outdated credentials are not, nor is what is no JSON
EveryStatusIsReached    each documented status came up, so that no promise goes untested
add_statuses            cases for the statuses that the mock answers only when asked to
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response
from schemathesis.core.failures import Failure

from huaweicloud_retry import signing
from huaweicloud_retry.contract import Contract, Operation

# What the mock answers only if `Prefer: code=…` asks for it. 413, 414 and 494 are for requests of many kilobytes too,
# which the mock's own tests send.
_ON_REQUEST = frozenset({413, 414, 429, 494, 500, 502, 503, 504})
ON_REQUEST = {"RetryScriptExecution": _ON_REQUEST, "RetryEngine": _ON_REQUEST | {404}}

# With which CSE refuses a well-formed request: an unknown engine, and one without a failed job.
NOTHING_TO_RETRY = {"SVCSTG.00501116", "SVCSTG.00501149"}

answers: Counter[tuple[str, int]] = Counter()
"""How many answers had which status, by operation ID. Of one run: who starts another clears it."""


@cache
def contract_at(location: str) -> Contract:
    """Return the compiled spec at a file URL, which is how schemathesis names it."""
    return Contract.load(Path(unquote(urlsplit(location).path)))


def _operation(case: Case[Any]) -> Operation:
    contract = contract_at(case.operation.schema.location or "")
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
    examples += [
        operation.Case(
            path_parameters=example.path_parameters,
            headers={"Prefer": f"code={status}"},
            body=example.body,
            media_type=example.media_type,
        )
        for status in sorted(ON_REQUEST[operation.definition.raw["operationId"]])
    ]


@schemathesis.hook
def filter_failure(_context: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    """Drop what is no failure: an answer that the case asked for."""
    return not (_wish(case) == response.status_code and failure.kind_title == "Server error")


@schemathesis.check
def agrees_with_contract(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    _check_answer(_operation(case), response.status_code, _headers(response), response.content)
    if _id(case) == "RetryEngine" and response.status_code == 400 and _is_valid(case):
        code = response.json()["error_code"]
        assert code in NOTHING_TO_RETRY, f"a valid request is refused as invalid: {code}"


def _is_valid(case: Case[Any]) -> bool:
    return case.meta is not None and case.meta.generation.mode.is_positive


def _headers(response: Response) -> dict[str, str]:
    return {name: ", ".join(values) for name, values in response.headers.items()}


def _check_answer(operation: Operation, status: int, headers: dict[str, str], content: bytes) -> None:
    problems = operation.check_response(status, headers, content)
    assert not problems, "; ".join(map(str, problems))


@schemathesis.check
class CredentialsAndFormAreChecked:
    """Once for each operation, with the first request that was accepted: schemathesis signs nothing, and sends no half JSON."""

    def __init__(self) -> None:
        self._done: set[str] = set()

    def after_response(self, ctx: CheckContext, response: Response, case: Case[Any]) -> None:
        if response.status_code != 200 or _id(case) in self._done:
            return
        self._done.add(_id(case))
        sent, operation = response.request, _operation(case)
        assert isinstance(sent.body, bytes)
        headers = {"Content-Type": str(sent.headers["Content-Type"])}
        request = httpx.Request(str(sent.method), str(sent.url), headers=headers, content=sent.body)
        with httpx.Client(trust_env=False) as client:
            for what, wanted, attempt in attempts(request, operation):
                answer = client.send(attempt)
                answers[operation.id, answer.status_code] += 1
                _check_answer(operation, answer.status_code, dict(answer.headers), answer.content)
                assert answer.status_code == wanted, f"{what}: {answer.status_code} {answer.text}"


def attempts(request: httpx.Request, operation: Operation) -> Iterator[tuple[str, int, httpx.Request]]:
    """Yield a valid request in several guises: what they are, the status to expect, and the request."""
    now = datetime.now(UTC)
    unknown = 401 if operation.security else 200
    by_signature = 200 if frozenset({"Signature"}) in operation.security else unknown
    yield "a good signature", by_signature, signed(request)
    yield "an unknown access key", unknown, signed(request, access_key="no-such-key")
    yield "a wrong secret key", unknown, signed(request, secret_key="no-such-secret")
    yield "a signature of an hour ago", unknown, signed(request, date=now - timedelta(hours=1))
    yield "a signature of another body", unknown, with_(signed(request), {}, content=request.content + b" ")
    yield "a wrong token", unknown, with_(request, {"X-Auth-Token": "no-such-token"})
    yield "no credentials", unknown, request
    known = with_(request, {"X-Auth-Token": "mock-token"})
    yield "no body", 400, with_(known, {}, content=b"")
    yield "half the body", 400, with_(known, {}, content=request.content[: len(request.content) // 2])
    yield "a list", 400, with_(known, {}, content=b"[" + request.content + b"]")
    yield "the body as text", 400, with_(known, {"Content-Type": "text/plain"})


def signed(
    request: httpx.Request,
    *,
    access_key: str = "mock-ak",
    secret_key: str = "mock-sk",
    date: datetime | None = None,
) -> httpx.Request:
    date_text = (date or datetime.now(UTC)).strftime(signing.DATE_FORMAT)
    headers = {"Host": request.headers["Host"], "X-Sdk-Date": date_text}
    target = request.url.raw_path.decode()
    canonical = signing.canonical_request(request.method, target, headers, request.content)
    authorization = signing.authorization(access_key, secret_key, canonical, date_text)
    return with_(request, {**headers, "Authorization": authorization})


def with_(request: httpx.Request, headers: dict[str, str], *, content: bytes | None = None) -> httpx.Request:
    merged = request.headers.copy()
    merged.update(headers)
    merged.pop("Content-Length", None)
    body = request.content if content is None else content
    return httpx.Request(request.method, request.url, headers=merged, content=body)


@schemathesis.check
class EveryStatusIsReached:
    """A promise that was never put to the test is not kept."""

    def __init__(self) -> None:
        self._documented: dict[str, tuple[str, ...]] = {}

    def after_response(self, ctx: CheckContext, response: Response, case: Case[Any]) -> None:
        answers[_id(case), response.status_code] += 1
        self._documented[_id(case)] = case.operation.responses.status_codes

    def after_run(self, ctx: CheckContext) -> None:
        missing = [
            f"{id_} never answered {status}"
            for id_, statuses in sorted(self._documented.items())
            for status in statuses
            if not answers[id_, int(status)]
        ]
        assert not missing, "; ".join(missing)
