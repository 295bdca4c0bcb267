"""What the suite asks beyond schemathesis's own checks of the requests that schemathesis makes, and cases of its own.

agrees_with_contract    contract.py, which the mock relies on, finds nothing wrong either; a 400 has the code of its cause
EveryStatusIsReached    each documented status came up, so that no promise goes untested
add_statuses            cases for the statuses that the mock responds only when asked to
"""

from collections import Counter
from pathlib import Path
from typing import Any, cast

import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response
from schemathesis.core.failures import Failure
from schemathesis.generation.meta import TestPhase

from huaweicloud_retry.contract import Operation
from huaweicloud_retry.parsing import read_json, read_yaml
from tests.contract.tested import Tested

# Which responses each operation has to requests without `Prefer: code=…`. The others are asked for; 413, 414 and 494 are for
# requests of many kilobytes too, which rules.py sends.
UNASKED = {200, 400, 401, 405}

STATE = Path(__file__).with_name("state.yaml")
_CREDENTIALS: Any = cast("dict[str, Any]", read_yaml(STATE.read_bytes()))["credentials"]
TOKEN: str = next(iter(_CREDENTIALS["tokens"]))
KEYS: tuple[str, str] = next((name, key["secret_key"]) for name, key in _CREDENTIALS["access_keys"].items())
"""Access key and secret key."""

server = cast("Tested", None)
"""The one under test, and the contract that it is held to. Who starts a run sets it."""

LEFT_OUT = b"(a secret was here)"

responses: Counter[tuple[str, int]] = Counter()
"""How many responses had which status, by operation ID, those to rules included. Of one run: who starts another clears it."""


def _operation(case: Case[Any]) -> Operation:
    return next(operation for operation in server.contract.operations if operation.id == _id(case))


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
    given: dict[str, Any] = (
        {"body": example.body, "media_type": example.media_type} if example.media_type else {}
    )
    examples += [
        operation.Case(path_parameters=example.path_parameters, headers={"Prefer": f"code={status}"}, **given)
        for status in sorted({*_operation(example).statuses} - UNASKED)
    ]


@schemathesis.hook
def filter_failure(_context: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    """Drop what is no failure: a response that the case asked for, and a refusal that no schema of a parameter can say."""
    if _wish(case) == response.status_code and failure.kind_title == "Server error":
        return False
    if failure.title != "Schema-valid request rejected":
        return True
    query = case.query or {}
    named = query.get("resource_id") and query.get("script_id")
    history_of_nothing = query.get("show_history") == "true" and not named
    # A link leads to records that did not fail, too. `agrees_with_contract` checks the code.
    linked = case.meta and case.meta.phase.name is TestPhase.STATEFUL
    not_failed = linked and _operation(case).acts and response.status_code == 400
    return not (history_of_nothing or not_failed)


@schemathesis.hook
def after_call(_context: HookContext, _case: Case[Any], response: Response) -> None:
    """Take secrets out of a response before schemathesis reports it."""
    for secret in server.searched if server else ():  # the state machine runs without the suite as well
        response.content = response.content.replace(secret.encode(), LEFT_OUT)
        for name, values in response.headers.items():
            response.headers[name] = [value.replace(secret, LEFT_OUT.decode()) for value in values]


@schemathesis.check
def agrees_with_contract(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    operation = _operation(case)
    given = response.status_code, _headers(response), response.content
    problems: list[Any] = [*operation.check_response(*given)]
    about = server.about_every_response(operation, *given)
    problems += [problem for rule, problem in about if rule not in server.noted]  # or a rule has reported it
    if LEFT_OUT in response.content + str(response.headers).encode():
        problems.append("the response has a secret of the credentials")
    assert not problems, "; ".join(map(str, problems))
    target = str(response.request.url).split("/", 3)[3]
    path, _, query = f"/{target}".partition("?")
    found = server.contract.match(operation.method, path)
    parameters = getattr(found, "path_params", {})
    if response.status_code == 200 and response.request.method == operation.method:
        repeated = operation.check_repeats(parameters, query, read_json(response.content))
        assert not repeated, "; ".join(map(str, repeated))
    if response.status_code == 400 and case.meta and not _wish(case):
        causes = _causes(operation, parameters, valid=case.meta.generation.mode.is_positive)
        codes = {
            error.code for error in operation.error_codes if error.status == 400 and error.cause in causes
        }
        others = {error.code for error in operation.error_codes} - codes
        code = response.json()["error_code"]
        any_other = "nothing-to-retry" in causes and code not in others  # its code is documented nowhere
        assert code in codes or any_other, (
            f"{code}, and not {' or '.join(sorted(codes))} ({' or '.join(sorted(causes))})"
        )


def _causes(operation: Operation, parameters: dict[str, str], *, valid: bool) -> set[str]:
    """Return what a 400 may be for."""
    if not valid:
        return {"malformed", "invalid"}
    if "engine_id" not in parameters:
        return {"nothing-to-retry", "invalid"}  # show_history without what it needs, which no schema says
    known = {(engine.project, engine.id) for engine in server.engines()}
    if (parameters["project_id"], parameters["engine_id"]) not in known:
        return {"unknown-engine"}
    return {"nothing-to-retry"} if operation.acts else {"unknown-job", "invalid-job-id"}


def _headers(response: Response) -> dict[str, str]:
    return {name: ", ".join(values) for name, values in response.headers.items()}


@schemathesis.check
class EveryStatusIsReached:
    """A promise that was never put to the test is not kept: of no operation of the contract, whether it was tested or not."""

    def after_response(self, ctx: CheckContext, response: Response, case: Case[Any]) -> None:
        responses[_id(case), response.status_code] += 1

    is_due = True
    """Not of somebody else's server, which nobody can ask for a 502, and not if a part of the rules was tried."""

    def after_run(self, ctx: CheckContext) -> None:
        missing = [
            f"{operation.id} never responded with {status}"
            for operation in server.contract.operations
            for status in operation.statuses
            if self.is_due and not responses[operation.id, status]
        ]
        assert not missing, "; ".join(missing)
