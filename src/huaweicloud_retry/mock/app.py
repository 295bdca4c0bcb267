"""The mock's application: one request in, one response out, as the contract says.

host → size → path and method → fault → credentials → contract → Prefer, handler, or the spec's example → log
A step refuses a request by raising Refusal, which becomes the spec's error body.
"""

import logging
from email.utils import formatdate

from huaweicloud_retry.contract import Contract, Match, Problem, WrongMethod

from . import gateway, iam
from .admin import Admin
from .docs import Docs
from .examples import preferred, successful
from .faults import Fault, Faults
from .guard import Guard
from .handlers import HANDLERS
from .request import MockRequest
from .request_log import RequestLog
from .response import Encoded, MockResponse, Refusal
from .state import State
from .wire import Pause

logger = logging.getLogger("huaweicloud_retry.mock")


class App:
    """Serves the operations and IAM's token, after `delay` seconds, and the admin endpoints and docs."""

    # fmt: off
    def __init__(  # noqa: PLR0913 - the parts of the mock
        self, contract: Contract, state: State, faults: Faults, guard: Guard | None = None,
        *, delay: float = 0.0, admin: bool = True,
    ) -> None:
        # fmt: on
        self._contract, self._state, self._faults, self._delay = contract, state, faults, delay
        self._guard = guard or Guard()
        self._log = RequestLog()
        self._admin = Admin(contract, state, faults, self._log, self._guard) if admin else None
        self._docs = Docs(contract.document, contract.raw, state)

    async def __call__(self, request: MockRequest, pause: Pause) -> Encoded:
        """Return the response to a request."""
        try:
            self._guard.check_host(request)
            if response := self._guard.preflight(request):
                return self._encoded(request, response)
            if page := self._docs.get(request):
                return page._replace(headers={**page.headers, **self._guard.headers(request)})
            if self._admin and request.path.startswith("/_mock/"):
                return self._encoded(request, await self._admin.respond(request))
        except Refusal as refusal:
            return self._encoded(request, refusal.response(request.id, self._contract))
        return await self._serve(request, pause)

    async def _serve(self, request: MockRequest, pause: Pause) -> Encoded:
        """Respond as the gateway, the services and IAM do. Each request goes into the request log."""
        fault: Fault | None = None
        match: Match | None = None
        try:
            gateway.check_size(request, self._contract.limits)
            match = self._find(request)
            request.operation = match.operation.id if match else iam.OPERATION
            fault = self._faults.pick(request.operation)
            if wait := self._delay + (fault.delay if fault else 0):
                # Like the service, the mock processes the request even if the caller stops waiting.
                request.gave_up = await pause(wait)
            response = self._with_fault(request, match, fault) if fault else self._respond(request, match)
        except Refusal as refusal:
            response = self._refused(request, match, refusal)
        except Exception:
            logger.exception("internal error in %s %r, request %s", request.method, request.path, request.id)
            internal = Refusal("unexpected", "Unexpected error: internal error of the mock; see its stderr.")
            response = self._refused(request, None, internal)
        self._log_request(request, response, fault)
        encoded = self._encoded(request, response or MockResponse(500))
        return fault.spoil(encoded, self._faults.random) if fault else encoded

    def _with_fault(self, request: MockRequest, match: Match | None, fault: Fault) -> MockResponse | None:
        """Respond with a fault's status, if it has one; None: the connection is closed before processing."""
        response = None
        if not fault.prevents_acting:
            try:
                response = self._respond(request, match)
            except Refusal as refusal:
                # The gateway checks credentials itself: a 401 takes precedence over the fault's status.
                if not fault.status or self._refused(request, match, refusal).status == 401:  # noqa: PLR2004
                    raise
        if not fault.status:
            return response
        acted = response is not None and response.acted
        return fault.response(match.operation if match else None, request.id)._replace(acted=acted)

    def _respond(self, request: MockRequest, match: Match | None) -> MockResponse:
        state, headers = self._state, request.headers
        if match is None:
            names = {id_: project.name for id_, project in state.projects.items()}
            return iam.create_token(state.credentials, names, headers.get("content-type"), request.body)
        operation, path_params = match.operation, match.path_params
        gateway.check_credentials(state.credentials, operation, request, path_params)
        checked = operation.check_request(path_params, request.query, headers, request.body)
        if checked.problems:
            raise _invalid(checked.problems)
        if "prefer" in headers and (response := preferred(operation, headers["prefer"])):
            return response
        if operation.id not in HANDLERS:
            return successful(operation)
        project = state.project(path_params["project_id"])
        body = HANDLERS[operation.id](project, path_params, request.query, checked.body)
        return MockResponse(200, body, acted=operation.acts)

    def _find(self, request: MockRequest) -> Match | None:
        """Find the operation of a request; None: it is for IAM's token."""
        method, path = request.method, request.path
        if path == iam.PATH:
            if method == "POST":
                return None
            raise Refusal("method", f"{iam.PATH} has only POST.", headers={"Allow": "POST"})
        found = self._contract.match(method, path)
        if found is None:
            known = ", ".join(f"{each.method} {each.path}" for each in self._contract.operations)
            what = f"The API does not exist: {method} {path[:200]}; the mock has {known}."
            raise Refusal("unknown-api", what)
        if isinstance(found, WrongMethod):
            request.near = found.operations[0]
            what = f"The method specified in the request is not allowed for this resource: {method}"
            allow = {"Allow": found.allowed}
            raise Refusal("method", f"{what}; the path has {found.allowed}.", headers=allow)
        return found

    def _refused(self, request: MockRequest, match: Match | None, refusal: Refusal) -> MockResponse:
        return refusal.response(request.id, self._contract, match.operation if match else request.near)

    def _encoded(self, request: MockRequest, response: MockResponse) -> Encoded:
        date = formatdate(self._state.now(), usegmt=True)  # by the clock of jobs and tokens
        return response.encoded(request.id, {"date": date, **self._guard.headers(request)})

    def _log_request(self, request: MockRequest, response: MockResponse | None, fault: Fault | None) -> None:
        acted = response is not None and response.acted
        if request.gave_up or (fault and (fault.close or fault.reply == "not-http")):
            response = None  # none is sent
        status, error_code = (response.status, _error_code(response)) if response else (None, None)
        entry = self._log.add(request, status, error_code, fault.given if fault else None, acted=acted)
        if logger.isEnabledFor(logging.INFO):
            shown = f"{entry.status or 'no response'} {entry.error_code or ''}".rstrip()
            by = " by a fault" if fault else ""
            logger.info("%s %s: %s%s, %s", request.method, request.path, shown, by, entry.outcome)


def _error_code(response: MockResponse) -> str | None:
    code = response.body.get("error_code") if isinstance(response.body, dict) else None
    return code if isinstance(code, str) else None


def _invalid(problems: list[Problem]) -> Refusal:
    malformed = any(problem.malformed for problem in problems)
    cause, text = ("malformed", "Bad request") if malformed else ("invalid", "The parameter is invalid")
    return Refusal(cause, f"{text}: {'; '.join(map(str, problems))}")
