"""The mock as an ASGI application: one request in, one answer out, along the contract.

size → path and method → body → credentials → contract → handler, or the spec's example
Whatever step refuses raises a Refusal, which becomes the error body of the spec.
"""

import json
import logging
import secrets
from collections.abc import Callable, Iterable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from huaweicloud_retry.contract import Contract, Json, Match, Operation, Problem, WrongMethod

from . import gateway
from .handlers import HANDLERS
from .state import Refusal, State

logger = logging.getLogger(__name__)

# The codes that a service has of its own; the others leave it to the gateway.
_INVALID = {"Workspace": ("WKS.00211102", "The parameter is invalid")}
_WRONG_METHOD = {"Workspace": ("WKS.00000405", "The method specified in the request is not allowed for this resource")}


def create_app(contract: Contract, state: State | None = None) -> ASGIApp:
    """Return the application: the spec's operations on `state`, by default the built-in one, and `/_mock/`."""
    return _App(contract, state or State())


class _App:
    def __init__(self, contract: Contract, state: State) -> None:
        self._contract = contract
        self._state = state
        self._admin: dict[str, tuple[str, Callable[[], tuple[int, Json]]]] = {
            "/_mock/health": ("GET", self._health),
            "/_mock/reset": ("POST", self._reset),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        request_id = secrets.token_hex(16)
        headers = {"X-Request-Id": request_id}
        try:
            status, body = await self._answer(request)
        except Refusal as refusal:
            status, body = refusal.status, _error_body(refusal, request_id)
            headers |= refusal.headers
        except ClientDisconnect:
            return
        except Exception:
            logger.exception("internal error in %s %r, request %s", request.method, scope["path"], request_id)
            unexpected = Refusal(500, "APIGW.0201", "Unexpected error: the mock's own fault; its stderr says more.")
            status, body = unexpected.status, _error_body(unexpected, request_id)
        if body is None:
            response = Response(status_code=status, headers=headers)
        else:
            response = Response(json.dumps(body), status, headers, media_type="application/json")
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> tuple[int, Json]:
        raw_path: bytes = request.scope["raw_path"]
        query: bytes = request.scope["query_string"]
        path = raw_path.decode("ascii")
        gateway.check_size(len(raw_path) + len(query), request.headers.raw)
        if path in self._admin:
            method, answer = self._admin[path]
            if request.method != method:
                raise Refusal(405, "APIGW.0101", f"{path} has only {method}.", headers={"Allow": method})
            return answer()
        found = self._contract.match(request.method, path)
        if not isinstance(found, Match):
            raise self._unknown(request.method, path, found)
        headers = _joined(request.headers.items())
        body = await gateway.read_body(request)
        target = f"{path}?{query.decode('ascii')}" if query else path
        gateway.check_credentials(found.operation, request.method, target, headers, body)
        checked = found.operation.check_request(found.path_params, query.decode("ascii"), headers, body)
        if checked.problems:
            raise _invalid(found.operation, checked.problems)
        handler = HANDLERS.get(found.operation.id)
        if handler is None:
            return _from_examples(found.operation)
        return 200, handler(self._state, found.path_params, checked.body)

    def _unknown(self, method: str, path: str, found: WrongMethod | None) -> Refusal:
        if found is None:
            has = ", ".join(f"{operation.method} {operation.path}" for operation in self._contract.operations)
            return Refusal(404, "APIGW.0101", f"The API does not exist: {method} {path[:200]}; the mock has {has}.")
        code, text = _first(_WRONG_METHOD, found.operations, ("APIGW.0101", "The API does not exist with this method"))
        return Refusal(405, code, f"{text}: {method}; the path has {found.allowed}.", headers={"Allow": found.allowed})

    def _health(self) -> tuple[int, Json]:
        contract = self._contract
        return 200, {"name": "huaweicloud-retry-mock", "version": contract.version, "sha256": contract.sha256}

    def _reset(self) -> tuple[int, Json]:
        self._state.reset()
        return 204, None


def _invalid(operation: Operation, problems: list[Problem]) -> Refusal:
    code, text = "APIGW.0201", "Bad request"
    if not any(problem.malformed for problem in problems):
        code, text = _first(_INVALID, [operation], (code, text))
    return Refusal(400, code, f"{text}: {'; '.join(map(str, problems))}")


def _from_examples(operation: Operation) -> tuple[int, Json]:
    try:
        status, body = operation.success()
    except LookupError as error:
        raise _spec_at_fault(operation, error.args[0]) from error
    content = b"" if body is None else json.dumps(body).encode()
    if problems := operation.check_response(status, {"Content-Type": "application/json"}, content):
        raise _spec_at_fault(operation, f"that for {status} breaks its own schema: {problems[0]}")
    return status, body


def _spec_at_fault(operation: Operation, why: str) -> Refusal:
    what = f"Unexpected error: the mock answers {operation.id} from the spec's examples, but {why}"
    return Refusal(500, "APIGW.0201", what)


def _first(own: dict[str, tuple[str, str]], operations: Iterable[Operation], else_: tuple[str, str]) -> tuple[str, str]:
    return next((own[tag] for operation in operations for tag in operation.tags if tag in own), else_)


def _error_body(refusal: Refusal, request_id: str) -> Json:
    body: dict[str, Json] = {"error_code": refusal.error_code, "error_msg": refusal.error_msg}
    if refusal.detail is not None:
        body["detail"] = refusal.detail
    if refusal.error_code.startswith("APIGW."):
        body["request_id"] = request_id
    return body


def _joined(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Make one of headers sent more than once, as HTTP has it."""
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined
