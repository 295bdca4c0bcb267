"""The mock as an ASGI application: one request in, one answer out, along the contract.

size → path and method → fault → body → credentials → contract → Prefer, handler, or the spec's example → journal
Whatever step refuses raises a Refusal, which becomes the error body of the spec.
"""

import json
import logging
from collections.abc import Iterable
from random import Random

from huaweicloud_retry.contract import Contract, Match, Operation, Problem, WrongMethod

from . import gateway, iam
from .admin import Admin
from .answer import Answer, Refusal
from .docs import CONTENT_SECURITY_POLICY, Docs
from .examples import preferred, successful
from .faults import Fault, Faults
from .handlers import HANDLERS
from .journal import Journal
from .request import Request
from .state import State
from .wire import Encoded, Receive, Scope, Send, Wire

_encode = json.JSONEncoder(check_circular=False).encode  # nothing here can be, and the check takes a while

logger = logging.getLogger("huaweicloud_retry.mock")

# The codes that a service has of its own; the others leave it to the gateway.
_INVALID = {"Workspace": ("WKS.00211102", "The parameter is invalid")}
_WRONG_METHOD = {"Workspace": ("WKS.00000405", "The method specified in the request is not allowed for this resource")}


class App:
    """The application: the spec's operations, IAM's token, the mock's own pages.

    Args:
        contract: what is served.
        state: what it knows.
        faults: which requests it maltreats.
        delay: seconds before each answer of an operation.
        admin: serve /_mock/.
    """

    def __init__(
        self, contract: Contract, state: State, faults: Faults, *, delay: float = 0.0, admin: bool = True
    ) -> None:
        self._contract = contract
        self._state = state
        self._faults = faults
        self._delay = delay
        self._journal = Journal()
        self._admin = Admin(contract, state, faults, self._journal) if admin else None
        self._docs = Docs(contract.document, contract.raw)
        self._ids = Random()  # noqa: S311 - of requests: no secrets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, f"{self._ids.getrandbits(128):032x}")
        wire = Wire(scope, receive, send)
        try:
            if page := self._docs.get(request.path):
                await wire.put(_page(request, *page))
            elif self._admin and request.path.startswith("/_mock/"):
                request.body = await gateway.read_body(request, receive)
                answer = self._admin.answer(request.method, request.path, request.body)
                await wire.put(_encoded(request, answer))
            else:
                await self._serve(request, wire)
        except Refusal as refusal:
            await wire.put(_encoded(request, refusal.answer(request.id)))
        except gateway.HungUpError:
            pass

    async def _serve(self, request: Request, wire: Wire) -> None:
        """Answer what the services, the gateway before them or IAM would be asked. All of it goes into the journal."""
        fault: Fault | None = None
        try:
            gateway.check_size(request)
            match = self._find(request)
            request.operation = match.operation.id if match else iam.OPERATION
            fault = self._faults.pick(request.operation)
            request.body = await gateway.read_body(request, wire.receive)
            if wait := self._delay + (fault.delay if fault else 0):
                # Who gives up waiting learns of no answer, but the service would have gone on: so does this.
                request.gave_up = await wire.pause(wait)
            answer = None if fault and fault.prevents_acting else self._behind_gateway(request, match, fault)
            if fault and fault.status:
                acted = answer is not None and answer.acted
                answer = fault.answer(match.operation if match else None, request.id)._replace(acted=acted)
        except Refusal as refusal:
            answer = refusal.answer(request.id)
        except gateway.HungUpError:
            raise
        except Exception:
            logger.exception("internal error in %s %r, request %s", request.method, request.path, request.id)
            unexpected = Refusal(500, "APIGW.0201", "Unexpected error: the mock's own fault; its stderr says more.")
            answer = unexpected.answer(request.id)
        self._write_down(request, answer, fault)
        if answer is None or (fault and fault.close):
            await wire.hang_up()
        elif fault and fault.reply:
            await wire.spoil(_encoded(request, answer), fault.reply, fault.seconds, self._faults.chance)
        else:
            await wire.put(_encoded(request, answer))

    def _find(self, request: Request) -> Match | None:
        """Return what of the spec is asked for; None if it is IAM's token."""
        if request.path == iam.PATH:
            if request.method == "POST":
                return None
            raise Refusal(405, "APIGW.0101", f"{iam.PATH} has only POST.", headers={"Allow": "POST"})
        found = self._contract.match(request.method, request.path)
        if isinstance(found, Match):
            return found
        raise self._unknown(request.method, request.path, found)

    def _unknown(self, method: str, path: str, found: WrongMethod | None) -> Refusal:
        if found is None:
            has = ", ".join(f"{operation.method} {operation.path}" for operation in self._contract.operations)
            return Refusal(404, "APIGW.0101", f"The API does not exist: {method} {path[:200]}; the mock has {has}.")
        code, text = _first(_WRONG_METHOD, found.operations, ("APIGW.0101", "The API does not exist with this method"))
        return Refusal(405, code, f"{text}: {method}; the path has {found.allowed}.", headers={"Allow": found.allowed})

    def _behind_gateway(self, request: Request, match: Match | None, fault: Fault | None) -> Answer:
        try:
            return self._answer(request, match)
        except Refusal as refusal:
            if fault and fault.status and refusal.status != 401:  # noqa: PLR2004 - that is the gateway's own
                return refusal.answer(request.id)  # which the gateway did not wait for
            raise

    def _answer(self, request: Request, match: Match | None) -> Answer:
        state, headers = self._state, request.headers
        if match is None:
            content_type = headers.get("content-type")
            return iam.create_token(state.credentials, state.projects, content_type, request.body)
        operation, path_params = match.operation, match.path_params
        gateway.check_credentials(state.credentials, operation, request)
        checked = operation.check_request(path_params, request.query, headers, request.body)
        if checked.problems:
            raise _invalid(operation, checked.problems)
        if "prefer" in headers and (answer := preferred(operation, headers["prefer"])):
            return answer
        handler = HANDLERS.get(operation.id)
        if handler is None:
            return successful(operation)
        return Answer(200, handler(state, path_params, checked.body), acted=True)

    def _write_down(self, request: Request, answer: Answer | None, fault: Fault | None) -> None:
        unsent = answer is None or request.gave_up or (fault and (fault.close or fault.reply == "not-http"))
        sent = None if unsent else answer
        status, error_code = (sent.status, _error_code(sent)) if sent else (None, None)
        acted = answer is not None and answer.acted
        entry = self._journal.add(request, status, error_code, fault.given if fault else None, acted=acted)
        if logger.isEnabledFor(logging.INFO):
            came = f"{entry.status or 'no answer'} {entry.error_code or ''}".rstrip()
            by = " by a fault" if fault else ""
            logger.info("%s %s: %s%s, %s", request.method, request.path, came, by, entry.outcome)


def _page(request: Request, content_type: str, content: bytes) -> Encoded:
    if request.method != "GET":
        raise Refusal(405, "MOCK.405", f"{request.path} has only GET.", headers={"Allow": "GET"})
    headers = {
        "x-request-id": request.id,
        "content-type": content_type,
        "content-length": str(len(content)),
        "content-security-policy": CONTENT_SECURITY_POLICY,
    }
    return Encoded(200, [(name.encode(), value.encode()) for name, value in headers.items()], content)


def _error_code(answer: Answer) -> str | None:
    code = answer.body.get("error_code") if isinstance(answer.body, dict) else None
    return code if isinstance(code, str) else None


def _invalid(operation: Operation, problems: list[Problem]) -> Refusal:
    code, text = "APIGW.0201", "Bad request"
    if not any(problem.malformed for problem in problems):
        code, text = _first(_INVALID, [operation], (code, text))
    return Refusal(400, code, f"{text}: {'; '.join(map(str, problems))}")


def _first(own: dict[str, tuple[str, str]], operations: Iterable[Operation], else_: tuple[str, str]) -> tuple[str, str]:
    return next((own[tag] for operation in operations for tag in operation.tags if tag in own), else_)


def _encoded(request: Request, answer: Answer) -> Encoded:
    headers = [(b"x-request-id", request.id.encode())]
    for name, value in answer.headers.items():
        if name.lower() != "x-request-id":  # the spec's examples may show one, but this request has its own
            headers.append((name.lower().encode(), value.encode()))
    if answer.body is None or answer.status == 304:  # noqa: PLR2004 - which has none in HTTP, whatever a fault says
        return Encoded(answer.status, headers, b"")
    content = _encode(answer.body).encode()
    headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    return Encoded(answer.status, headers, content)
