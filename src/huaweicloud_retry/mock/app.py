"""The mock as an application: one request in, one response out, along the contract.

host → size → path and method → fault → credentials → contract → Prefer, handler, or the spec's example → request log
Whatever step refuses raises a Refusal, which becomes the error body of the spec.
"""

import logging
from email.utils import formatdate

from huaweicloud_retry.contract import Contract, Match, Problem, WrongMethod

from . import gateway, iam
from .admin import Admin
from .answer import Answer, Encoded, Refusal
from .docs import Docs
from .examples import preferred, successful
from .faults import Fault, Faults
from .guard import Guard
from .handlers import HANDLERS
from .request import Request
from .request_log import RequestLog
from .state import State
from .wire import Pause

logger = logging.getLogger("huaweicloud_retry.mock")


class App:
    """The application: the spec's operations, after a delay in seconds, IAM's token, the mock's own pages."""

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

    async def __call__(self, request: Request, pause: Pause) -> Encoded:
        """Answer one request."""
        try:
            self._guard.check_host(request)
            if answer := self._guard.preflight(request):
                return self._encoded(request, answer)
            if page := self._docs.get(request):
                return page._replace(headers={**page.headers, **self._guard.headers(request)})
            if self._admin and request.path.startswith("/_mock/"):
                return self._encoded(request, await self._admin.answer(request))
        except Refusal as refusal:
            return self._encoded(request, refusal.answer(request.id, self._contract))
        return await self._serve(request, pause)

    async def _serve(self, request: Request, pause: Pause) -> Encoded:
        """Answer what the services, the gateway before them or IAM would be asked. All of it goes into the log."""
        fault: Fault | None = None
        match: Match | None = None
        try:
            gateway.check_size(request, self._contract.limits)
            match = self._find(request)
            request.operation = match.operation.id if match else iam.OPERATION
            fault = self._faults.pick(request.operation)
            if wait := self._delay + (fault.delay if fault else 0):
                # Who gives up waiting learns of no answer, but the service would have gone on: so does this.
                request.gave_up = await pause(wait)
            answer = None if fault and fault.prevents_acting else self._behind_gateway(request, match, fault)
            if fault and fault.status:
                acted = answer is not None and answer.acted
                answer = fault.answer(match.operation if match else None, request.id)._replace(acted=acted)
        except Refusal as refusal:
            answer = self._refused(request, match, refusal)
        except Exception:
            logger.exception("internal error in %s %r, request %s", request.method, request.path, request.id)
            unexpected = Refusal("unexpected", "Unexpected error: the mock's own fault; its stderr says more.")
            answer = self._refused(request, None, unexpected)
        self._write_down(request, answer, fault)
        response = self._encoded(request, answer or Answer(500))
        return fault.spoil(response, self._faults.chance) if fault else response

    def _encoded(self, request: Request, answer: Answer) -> Encoded:
        date = formatdate(self._state.now(), usegmt=True)  # of the clock by which jobs begin and end
        return answer.encoded(request.id, {"date": date, **self._guard.headers(request)})

    def _refused(self, request: Request, match: Match | None, refusal: Refusal) -> Answer:
        return refusal.answer(request.id, self._contract, match.operation if match else request.near)

    def _find(self, request: Request) -> Match | None:
        """Return what of the spec is asked for; None if it is IAM's token."""
        if request.path == iam.PATH:
            if request.method == "POST":
                return None
            raise Refusal("method", f"{iam.PATH} has only POST.", headers={"Allow": "POST"})
        method, path = request.method, request.path
        found = self._contract.match(method, path)
        if found is None:
            has = ", ".join(f"{operation.method} {operation.path}" for operation in self._contract.operations)
            raise Refusal("unknown-api", f"The API does not exist: {method} {path[:200]}; the mock has {has}.")
        if isinstance(found, WrongMethod):
            request.near = found.operations[0]
            what = f"The method specified in the request is not allowed for this resource: {method}"
            raise Refusal("method", f"{what}; the path has {found.allowed}.", headers={"Allow": found.allowed})
        return found

    def _behind_gateway(self, request: Request, match: Match | None, fault: Fault | None) -> Answer:
        try:
            return self._answer(request, match)
        except Refusal as refusal:
            answer = self._refused(request, match, refusal)
            if fault and fault.status and answer.status != 401:  # noqa: PLR2004 - that is the gateway's own
                return answer  # which the gateway did not wait for
            raise

    def _answer(self, request: Request, match: Match | None) -> Answer:
        state, headers = self._state, request.headers
        if match is None:
            names = {id_: project.name for id_, project in state.projects.items()}
            return iam.create_token(state.credentials, names, headers.get("content-type"), request.body)
        operation, path_params = match.operation, match.path_params
        gateway.check_credentials(state.credentials, operation, request, path_params)
        checked = operation.check_request(path_params, request.query, headers, request.body)
        if checked.problems:
            raise _invalid(checked.problems)
        if "prefer" in headers and (answer := preferred(operation, headers["prefer"])):
            return answer
        if operation.id not in HANDLERS:
            return successful(operation)
        project = state.project(path_params["project_id"])
        body = HANDLERS[operation.id](project, path_params, request.query, checked.body)
        return Answer(200, body, acted=operation.acts)

    def _write_down(self, request: Request, answer: Answer | None, fault: Fault | None) -> None:
        unsent = answer is None or request.gave_up or (fault and (fault.close or fault.reply == "not-http"))
        sent = None if unsent else answer
        status, error_code = (sent.status, _error_code(sent)) if sent else (None, None)
        acted = answer is not None and answer.acted
        entry = self._log.add(request, status, error_code, fault.given if fault else None, acted=acted)
        if logger.isEnabledFor(logging.INFO):
            came = f"{entry.status or 'no answer'} {entry.error_code or ''}".rstrip()
            by = " by a fault" if fault else ""
            logger.info("%s %s: %s%s, %s", request.method, request.path, came, by, entry.outcome)


def _error_code(answer: Answer) -> str | None:
    code = answer.body.get("error_code") if isinstance(answer.body, dict) else None
    return code if isinstance(code, str) else None


def _invalid(problems: list[Problem]) -> Refusal:
    malformed = any(problem.malformed for problem in problems)
    cause, text = ("malformed", "Bad request") if malformed else ("invalid", "The parameter is invalid")
    return Refusal(cause, f"{text}: {'; '.join(map(str, problems))}")
