"""schemathesis' state machine: retries, reads and time in any order, by the links of openapi.yaml and the server's clock.

What no link says is in `Model`: failed -> retried -> running -> refused -> ended.
"""

from collections import Counter
from typing import Any
from zlib import crc32

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import rule as step
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig

from huaweicloud_retry.parsing import read_json
from tests.contract.tested import FAILED, RUNNING, BrokenError, NotApplicableError, Tested, Work, rule
from tests.contract.wire import Request

_SETTINGS = settings(
    max_examples=5,
    stateful_step_count=25,
    phases=[Phase.generate],  # what is found is reported as it is
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


class Model:
    """The work of the description, and what became of it."""

    def __init__(self, server: Tested, works: list[Work]) -> None:
        self.works, self._server = works, server
        self._retries: Counter[tuple[str, str]] = Counter()
        self._running = set[tuple[str, str]]()

    def statuses(self, work: Work) -> set[str]:
        """Return those that it may have now."""
        key = work.project, work.id
        if key in self._running:
            return RUNNING
        retries = min(self._retries[key], len(work.ends))
        return {work.ends[retries - 1] if retries else work.status}

    def retry(self, works: list[Work]) -> bool:
        """Let what has failed run; say whether a retry of these is accepted."""
        failed = [work for work in works if self.statuses(work) <= FAILED]
        self._retries.update((work.project, work.id) for work in failed)
        self._running |= {(work.project, work.id) for work in failed if self._server.run_time(work) > 0}
        return bool(failed)

    def end(self) -> None:
        """Let what runs end."""
        longest = max(self._server.run_time(work) for work in self.works if work.failed)
        self._server.wait(longest + 1)
        self._running.clear()

    def check(self, operation: str, arguments: Any, body: Any, status: int, said: Any) -> str:
        """Return what a response says otherwise than the model; nothing if it is about no known work."""
        body = body if isinstance(body, dict) else {}
        named = {"engine_id": arguments.get("engine_id"), "record_id": arguments.get("record_id")} | body
        works = [
            work for work in self.works if work.project == arguments["project_id"] and _is_named(work, named)
        ]
        if not works or (operation == "ShowEngineJob" and arguments["job_id"] != str(works[0].given["id"])):
            return ""
        if operation.startswith("Retry"):
            wanted = {200} if self.retry(works) else {400}
            return "" if status in wanted else f"status {status}, and not {wanted} for {works[0].id}"
        if operation in {"ShowEngineJob", "ShowScriptRecordDetail"} and status == 200:
            wanted_statuses = self.statuses(works[0])
            if said.get("status") not in wanted_statuses:
                return f"{works[0].id} is {said.get('status')}, and not {' or '.join(wanted_statuses)}"
        return ""


def _is_named(work: Work, named: dict[str, Any]) -> bool:
    if not work.task:
        return bool(work.id == named["engine_id"])
    wanted = {work.id: named["record_id"], work.task: named.get("task_id")}
    return any(wanted.values()) and all(value in {None, key} for key, value in wanted.items())


def _machine(server: Tested, tag: str, works: list[Work], broken: list[BrokenError]) -> Any:
    schema: Any = schemathesis.openapi.from_dict(server.contract.document, config=SchemathesisConfig())
    schema.config.generation.update(modes=[GenerationMode.POSITIVE])
    machine: Any = schema.include(tag=tag).as_state_machine()

    class Machine(machine):  # type: ignore[misc] # schemathesis makes the class
        def setup(self) -> None:
            server.reset()
            self.model = Model(server, works)

        def before_call(self, case: Any) -> None:
            """Name work of the description, as generated IDs do not; those of a link stay."""
            case.query = {
                name: value for name, value in (case.query or {}).items() if name == "script_task_id"
            }
            if case.path_parameters["project_id"] in server.state["projects"]:
                return
            work = works[crc32(repr(case.path_parameters).encode()) % len(works)]
            known = {"project_id": work.project, "engine_id": work.id, "record_id": work.id}
            known["job_id"] = str(work.given.get("id"))
            case.path_parameters = {name: known[name] for name in case.path_parameters}
            if work.task and case.method == "POST":
                case.body = {"task_id": work.task} if "task_id" in case.body else {"record_id": work.id}

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"base_url": server.url, "headers": {"X-Auth-Token": server.token}}

        def validate_response(self, response: Any, case: Any, **_: Any) -> None:
            operation = case.operation.definition.raw["operationId"]
            said = read_json(response.content)
            problem = self.model.check(operation, case.path_parameters, case.body, response.status_code, said)
            if problem:
                sent = response.request
                request = Request(sent.method, sent.path_url, tuple(sent.headers.items()), sent.body or b"")
                broken.append(BrokenError(f"{problem}\n  {response.status_code} {said}", request))
                raise broken[-1]

        @step()
        def time_passes(self) -> None:
            self.model.end()

    return Machine


@rule(
    "facts 7; cse-docs: engineAdditionalActions; workspace-docs: status", spends=True, last=True
)  # it takes longest
def any_order_of_retries_reads_and_time_keeps_the_states(server: Tested) -> None:
    """Schemathesis' state machine: what failed is accepted and runs, what runs or has succeeded is refused, and reads say so."""
    if not server.resets:
        raise NotApplicableError("it tries many orders from the beginning, and the server has no reset")
    services = {"CSE": server.engines(), "Workspace": server.records()}
    with_failed = {tag: works for tag, works in services.items() if any(work.failed for work in works)}
    if not with_failed:
        raise NotApplicableError("the state describes no failed work")
    for tag, works in with_failed.items():
        broken: list[BrokenError] = []
        try:
            _machine(server, tag, works, broken).run(settings=_SETTINGS)
        except Exception:
            if not broken:
                raise
            raise broken[0] from None  # the first one: a second try of the same may have had another outcome
