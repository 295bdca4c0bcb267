"""Servers that break the contract: the mock, with one thing wrong between it and the wire.

A mutant is a generator that plays the part of a bad intermediary: it is given what was asked, yields what the mock is
asked instead, gets the mock's answer, and returns the one that goes out.
"""

import json
import re
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

from huaweicloud_retry import signing
from huaweicloud_retry.contract import Contract
from huaweicloud_retry.mock.answer import Encoded
from huaweicloud_retry.mock.app import App
from huaweicloud_retry.mock.faults import Faults
from huaweicloud_retry.mock.iam import Locks
from huaweicloud_retry.mock.request import Request as MockRequest
from huaweicloud_retry.mock.server import serving
from huaweicloud_retry.mock.state import State, read_state
from huaweicloud_retry.mock.wire import Pause
from tests.contract import checks

ENGINE, SCRIPT = "/actions", "/retry"  # how the paths end


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    """As it is sent, percent-encoded."""
    headers: Mapping[str, str]
    """Names in small letters."""
    body: bytes

    def with_headers(self, **headers: str | None) -> "Request":
        """Return it with other headers (`_` for `-`); None takes one away."""
        changed = {name.replace("_", "-"): value for name, value in headers.items()}
        merged = {**self.headers, **changed}
        return replace(self, headers={name: value for name, value in merged.items() if value is not None})

    def with_body(self, body: bytes) -> "Request":
        return replace(self, body=body, headers={**self.headers, "content-length": str(len(body))})


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def with_json(self, value: Any) -> "Answer":
        return replace(self, body=json.dumps(value).encode())

    def with_headers(self, **headers: str | None) -> "Answer":
        """Return it with other headers (`_` for `-`); None takes one away."""
        changed = {name.replace("_", "-"): value for name, value in headers.items()}
        merged = {**self.headers, **changed}
        return replace(self, headers={name: value for name, value in merged.items() if value is not None})


Mutant: TypeAlias = Callable[[Request], Generator[Request, Answer, Answer]]

MUTANTS: dict[str, Mutant] = {}


def answers(
    what: str, change: Callable[[Answer], Answer], *, status: int | None = None, path: str = "", method: str = ""
) -> None:
    """Add a mutant that changes answers: of one status or all, of one operation, of those of a method, or of all."""

    def mutant(request: Request) -> Generator[Request, Answer, Answer]:
        answer = yield request
        wanted = status in {None, answer.status} and request.path.endswith(path) and method in {"", request.method}
        return change(answer) if wanted else answer

    MUTANTS[what] = mutant


def requests(what: str, change: Callable[[Request], Request | Answer]) -> None:
    """Add a mutant that changes requests, or answers them by itself."""

    def mutant(request: Request) -> Generator[Request, Answer, Answer]:
        changed = change(request)
        if isinstance(changed, Answer):
            return changed
        return (yield changed)

    MUTANTS[what] = mutant


def fields(change: Callable[[dict[str, Any]], Any]) -> Callable[[Answer], Answer]:
    """Change the body of an answer in place."""

    def changed(answer: Answer) -> Answer:
        body = json.loads(answer.body)
        change(body)
        return answer.with_json(body)

    return changed


def _of_another(body: dict[str, Any]) -> None:
    if "id" in body:
        body["id"] = body["id"] + 1 if isinstance(body["id"], int) else "another"


def renamed(old: str, new: str) -> Callable[[Answer], Answer]:
    return fields(lambda body: body.update({new: body.pop(old)}))


def status(value: int) -> Callable[[Answer], Answer]:
    return lambda answer: replace(answer, status=value)


def coded(code: str) -> Callable[[Answer], Answer]:
    return fields(lambda body: body.update(error_code=code))


def if_says(word: str, change: Callable[[Answer], Answer]) -> Callable[[Answer], Answer]:
    return lambda answer: change(answer) if word.encode() in answer.body else answer


def error(status_: int, code: str = "APIGW.0201") -> Answer:
    body = {"error_code": code, "error_msg": "Refused."}
    return Answer(status_, {"content-type": "application/json"}, json.dumps(body).encode())


def ok(**body: Any) -> Answer:
    return Answer(200, {"content-type": "application/json"}, json.dumps(body).encode())


ACCEPTED = {
    ENGINE: ok(id="4a1bc63d-4719-4bd3-b1ad-5ee590b05e87", name="cse-gve7lg", jobId=18638),
    SCRIPT: ok(task_id="0000000059071dbc01591661d3990019"),
}


def accepted(request: Request) -> Answer:
    """Answer as if it had been valid."""
    return ACCEPTED[ENGINE if request.path.endswith(ENGINE) else SCRIPT]


def body_of(request: Request) -> Any:
    """Return the JSON of a request; None if it is none."""
    try:
        return json.loads(request.body)
    except ValueError:
        return None


# --- Answers: what is wrong with a good one ---------------------------------------------------------------------------

answers("200 without task_id", fields(lambda body: body.pop("task_id")), status=200, path=SCRIPT)
answers("200 with task_id spelt taskId", renamed("task_id", "taskId"), status=200, path=SCRIPT)
answers("200 with task_id null", fields(lambda body: body.update(task_id=None)), status=200, path=SCRIPT)
answers("200 with task_id a number", fields(lambda body: body.update(task_id=19)), status=200, path=SCRIPT)
answers("200 without name", fields(lambda body: body.pop("name")), status=200, path=ENGINE)
answers("200 with id null", fields(lambda body: body.update(id=None)), status=200, path=ENGINE)
answers("200 with the id of another engine", fields(lambda body: body.update(id="another")), status=200, path=ENGINE)
answers("200 with jobId spelt job_id", renamed("jobId", "job_id"), status=200, path=ENGINE)
answers("200 with jobId a string", fields(lambda body: body.update(jobId="18638")), status=200, path=ENGINE)
answers("200 with jobId a fraction", fields(lambda body: body.update(jobId=18638.5)), status=200, path=ENGINE)
answers("200 with jobId out of int32", fields(lambda body: body.update(jobId=2**31)), status=200, path=ENGINE)
answers("200 of a read without its first field", fields(lambda b: b.pop(next(iter(b)))), status=200, method="GET")
answers("200 of a read with the id of another", fields(_of_another), status=200, method="GET")
answers("200 with a list for a body", lambda answer: answer.with_json([json.loads(answer.body)]), status=200)
answers("200 with half a body", lambda answer: replace(answer, body=answer.body[:-5]), status=200)
answers("200 without a body", lambda answer: replace(answer, body=b""), status=200)
answers("200 as text/plain", lambda answer: answer.with_headers(content_type="text/plain"), status=200)
answers("200 without Content-Type", lambda answer: answer.with_headers(content_type=None), status=200)
answers(
    "200 in UTF-16",
    lambda answer: replace(answer, body=answer.body.decode().encode("utf-16")).with_headers(
        content_type="application/json;charset=utf-16"
    ),
    status=200,
)
answers("202 for 200", status(202), status=200)
answers("201 for 200", status(201), status=200)

# --- Errors -----------------------------------------------------------------------------------------------------------

answers("400 without error_code", fields(lambda body: body.pop("error_code")), status=400)
answers("400 with errorCode and errorMessage", renamed("error_code", "errorCode"), status=400)
answers("400 with error_code a number", fields(lambda body: body.update(error_code=400)), status=400)
answers("403 with error_msg null", fields(lambda body: body.update(error_msg=None)), status=403)
answers("401 without a body", lambda answer: replace(answer, body=b""), status=401)
answers("401 with the body as text", lambda answer: replace(answer, body=b"Unauthorized"), status=401)
answers("404 as text/html", lambda answer: answer.with_headers(content_type="text/html"), status=404)
answers("429 with request_id a number", fields(lambda body: body.update(request_id=1)), status=429)
answers("502 as a page of HTML", lambda answer: replace(answer, body=b"<html>Bad Gateway</html>"), status=502)
answers("502 with a number for a body", lambda answer: replace(answer, body=b"504"), status=502)
answers("504 for 502", status(504), status=502)
answers("422 for 400", status(422), status=400)
answers("200 for 400", status(200), status=400)
answers("403 for 401", status(403), status=401)
answers("400 for 401", status(400), status=401)
answers("404 for 405", status(404), status=405)
answers("405 without Allow", lambda answer: answer.with_headers(allow=None), status=405)
answers("404 for an unknown engine", if_says("SVCSTG.00501116", status(404)))
answers("200 for an unknown engine", if_says("SVCSTG.00501116", lambda _: ACCEPTED[ENGINE]))
answers("409 for an engine without a failed job", if_says("SVCSTG.00501149", status(409)))
answers("500 for an engine without a failed job", if_says("SVCSTG.00501149", status(500)))
answers("409 for a script with nothing to retry", if_says("nothing to retry", status(409)), path=SCRIPT)
answers("an unknown engine is one without a failed job", if_says("SVCSTG.00501116", coded("SVCSTG.00501149")))
answers("an engine without a failed job is an unknown one", if_says("SVCSTG.00501149", coded("SVCSTG.00501116")))
answers("nothing to retry is malformed", if_says("nothing to retry", coded("APIGW.0201")), path=SCRIPT)
answers("half a body means an unknown engine", if_says("APIGW.0201", coded("SVCSTG.00501116")), path=ENGINE, status=400)
answers("404 for an unknown project", status(404), status=403, path=SCRIPT)
answers("500 for an unknown project", status(500), status=403)

# --- Credentials ------------------------------------------------------------------------------------------------------


def with_token(request: Request) -> Request:
    return request.with_headers(x_auth_token=checks.TOKEN, authorization=None)


def _seconds_old(request: Request) -> float:
    date = datetime.strptime(request.headers["x-sdk-date"], signing.DATE_FORMAT).replace(tzinfo=UTC)
    return (datetime.now(UTC) - date).total_seconds()


def _authorization(request: Request) -> dict[str, str]:
    """Return the parts of a signature's header; empty if there is none."""
    return dict(re.findall(r"(\w+)=([^,]+)", request.headers.get("authorization", "")))


def signature(what: str, will_do: Callable[[Request, dict[str, str]], bool]) -> None:
    """Add a mutant that lets certain signatures in, without a look at the rest; they come with the header's parts."""

    def change(request: Request) -> Request:
        parts = _authorization(request)
        return with_token(request) if parts and will_do(request, parts) else request

    requests(what, change)


def _fits(request: Request, parts: dict[str, str], **other: Any) -> bool:
    """Say whether the suite's key makes this signature of the request with something else in the place of what it has."""
    meant = replace(request, **other)
    covered = {name: meant.headers[name] for name in parts["SignedHeaders"].split(";")}
    canonical = signing.canonical_request(meant.method, meant.path, covered, meant.body)
    date = request.headers["x-sdk-date"]
    return signing.authorization(*checks.KEYS, canonical, date) == request.headers["authorization"]


def _any_key(request: Request, parts: dict[str, str]) -> bool:
    """Take any access key, whose secret key is that of the suite."""
    known, secret = checks.KEYS
    covered = {name: request.headers[name] for name in parts["SignedHeaders"].split(";")}
    canonical = signing.canonical_request(request.method, request.path, covered, request.body)
    ours = signing.authorization(parts["Access"], secret, canonical, request.headers["x-sdk-date"])
    return parts["Access"] != known and ours == request.headers["authorization"]


def _token_begins(request: Request) -> Request:
    return with_token(request) if request.headers.get("x-auth-token", "").startswith(checks.TOKEN) else request


requests("no credentials needed", lambda r: r if {"x-auth-token", "authorization"} & set(r.headers) else with_token(r))
requests("any token will do", lambda r: with_token(r) if "x-auth-token" in r.headers else r)
requests("an empty token will do", lambda r: with_token(r) if r.headers.get("x-auth-token") == "" else r)
requests("a token with more at its end will do", _token_begins)
signature("any signature will do", lambda _, _parts: True)
signature("an outdated signature will do", lambda r, _: _seconds_old(r) > 900)
signature("a signature of the future will do", lambda r, _: _seconds_old(r) < -900)
signature("blanks at the end of the body are not signed", lambda r, parts: _fits(r, parts, body=r.body.rstrip()))
signature("a signature of another path will do", lambda r, parts: _fits(r, parts, path="/v2/other"))
signature(
    "a signature of another method will do",
    lambda r, parts: any(_fits(r, parts, method=m) for m in ("PATCH", "POST", "PUT")),
)
signature("Host need not be signed", lambda _, parts: "host" not in parts["SignedHeaders"])
signature("X-Sdk-Date need not be signed", lambda _, parts: "x-sdk-date" not in parts["SignedHeaders"])
signature("an unknown access key will do", _any_key)
requests("no signature will do", lambda r: error(401) if "authorization" in r.headers else r)
requests("the token is refused for engines", lambda r: error(401) if r.path.endswith(ENGINE) else r)

# --- Requests: what is let through, or is not -------------------------------------------------------------------------


def _invalid_is_accepted(request: Request) -> Generator[Request, Answer, Answer]:
    answer = yield request
    return accepted(request) if answer.status == 400 and b"501116" not in answer.body else answer


def _shortened(request: Request) -> Request:
    return replace(request, path="/".join(segment[:64] for segment in request.path.split("/")))


def _lenient(change: Callable[[dict[str, Any]], Any], *, path: str = "") -> Callable[[Request], Request]:
    """Change the body of a request in place, if it is a JSON object; of one operation or both."""

    def mended(request: Request) -> Request:
        body = body_of(request)
        if not (isinstance(body, dict) and request.path.endswith(path)):
            return request
        changed = dict(body)
        change(changed)
        return request if changed == body else request.with_body(json.dumps(changed).encode())

    return mended


def _action_like(same: Callable[[Any], bool]) -> Callable[[Request], Request]:
    return _lenient(lambda body: body.update(action="Retry") if same(body.get("action")) else None, path=ENGINE)


def _strict(refuse: Callable[[dict[str, Any]], bool]) -> Callable[[Request], Request | Answer]:
    def checked(request: Request) -> Request | Answer:
        body = body_of(request)
        return error(400) if isinstance(body, dict) and refuse(body) else request

    return checked


def _cut_ids(body: dict[str, Any]) -> None:
    body.update({name: value[:64] for name, value in body.items() if name in KNOWN and isinstance(value, str)})


KNOWN = {"action", "record_id", "task_id"}

MUTANTS["any invalid request is accepted"] = _invalid_is_accepted
requests("a missing action means Retry", _lenient(lambda body: body.setdefault("action", "Retry"), path=ENGINE))
requests("any action will do", _lenient(lambda body: body.update(action="Retry"), path=ENGINE))
requests("the action in small letters will do", _action_like(lambda action: action == "retry"))
requests("the action between blanks will do", _action_like(lambda action: action == " Retry "))
requests("a list of the action will do", _action_like(lambda action: action == ["Retry"]))
requests("numbers are taken for IDs", _lenient(lambda b: b.update({k: str(v) for k, v in b.items() if type(v) is int})))
requests("null is taken for absent", _lenient(lambda b: [b.pop(k) for k in list(b) if k in KNOWN and b[k] is None]))
requests("IDs of any length in a body", _lenient(_cut_ids))
requests("an empty ID in a body is ignored", _lenient(lambda b: [b.pop(k) for k in list(b) if b[k] == ""]))
requests("IDs of any length in a path", _shortened)
requests("the enterprise project is not looked at", lambda r: r.with_headers(x_enterprise_project_id=None))
requests("any Content-Type will do", lambda r: r.with_headers(content_type="application/json") if r.body else r)
requests("no body means the default", lambda r: r if r.body else r.with_body(b'{"action": "Retry"}'))
requests(
    "POST will do for PUT", lambda r: replace(r, method="PUT") if r.method == "POST" and r.path.endswith(ENGINE) else r
)
requests(
    "PATCH will do for POST",
    lambda r: replace(r, method="POST") if r.method == "PATCH" and r.path.endswith(SCRIPT) else r,
)
requests("HEAD is answered with 200", lambda r: ok() if r.method == "HEAD" else r)
requests("unknown fields are refused", _strict(lambda body: not set(body) <= KNOWN))
requests("task_id alone is refused", _strict(lambda body: set(body) == {"task_id"}))
requests("record IDs over 32 characters are refused", _strict(lambda body: len(str(body.get("record_id", ""))) > 32))
requests("500 on text that is not ASCII", lambda r: r if r.body.isascii() and b"\\u" not in r.body else error(500))
requests("500 on a percent sign in the path", lambda r: error(500) if "%" in r.path else r)
requests(
    "500 on a number for an ID",
    lambda r: (
        error(500)
        if isinstance((body_of(r) or {}).get("record_id") if isinstance(body_of(r), dict) else None, int)
        else r
    ),
)
requests("500 on a body that is no JSON", lambda r: error(500) if r.body and body_of(r) is None else r)
requests(
    "a long enterprise project is a 500",
    lambda r: error(500) if len(r.headers.get("x-enterprise-project-id", "")) > 64 else r,
)


# --- Serving one ------------------------------------------------------------------------------------------------------


@dataclass
class Between:
    """An application: the mock, behind a mutant."""

    app: App
    state: State
    mutant: Mutant
    changed: int = 0
    """How many answers were not what the mock would have said."""

    async def __call__(self, request: MockRequest, pause: Pause) -> Encoded:
        """Answer one request."""
        if request.path.startswith("/_mock/"):
            return await self.app(request, pause)
        asked = Request(request.method, request.path, request.headers, request.body)
        steps = self.mutant(asked)
        changed, answer = asked, None
        while True:
            try:
                changed = next(steps) if answer is None else steps.send(answer)
            except StopIteration as stop:
                final: Answer = stop.value
                break
            answer = await self._ask(request, changed)
        plain = answer if answer is not None and changed == asked else await self._ask(request, asked)
        self.changed += _of_any_request(final) != _of_any_request(plain)
        return Encoded(final.status, final.headers, final.body)

    async def _ask(self, request: MockRequest, changed: Request) -> Answer:
        fields = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in changed.headers.items()]
        sent = MockRequest(changed.method, f"{changed.path}?{request.query}", fields)
        sent.body, sent.address = changed.body, request.address
        self.state.credentials.locks = Locks(self.state.now)  # being asked twice is not to count as two failures
        response = await self.app(sent, _never_gone)
        return Answer(response.status, {n.lower(): v for n, v in response.headers.items()}, response.content)


async def _never_gone(_seconds: float) -> bool:
    return False


def _of_any_request(answer: Answer) -> Answer:
    """Leave out what differs from request to request."""
    id_ = answer.headers.get("x-request-id", "")
    body = answer.body.replace(id_.encode(), b"") if id_ else answer.body
    return replace(answer.with_headers(x_request_id=None, content_length=None), body=body)


@contextmanager
def broken(what: str) -> Generator[tuple[str, Between], None, None]:
    """Serve a mutant; yields its URL, and itself."""
    state = State(read_state(checks.STATE.read_bytes()))
    between = Between(App(Contract.load(), state, Faults()), state, MUTANTS[what])
    with serving(between) as url:
        yield url, between
