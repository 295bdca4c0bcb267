"""What the mock remembers, and what it therefore refuses. In memory, lost at exit.

No method waits for anything between looking and changing, and all run on the server's one event loop:
of two simultaneous retries exactly one is accepted.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice


class Run(Enum):
    """How far some piece of work is."""

    FAILED = "failed"
    RUNNING = "running"


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """An answer other than success, in the terms of the spec.

    Attributes:
        status: the HTTP status.
        error_code: of the service, or of the gateway if it begins with `APIGW.`.
        error_msg: what is wrong and what to do.
        detail: where, for the CSE service.
        headers: to send beside the usual ones.
    """

    def __init__(
        self,
        status: int,
        error_code: str,
        error_msg: str,
        *,
        detail: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {error_code}: {error_msg}")
        self.status = status
        self.error_code = error_code
        self.error_msg = error_msg
        self.detail = detail
        self.headers = headers or {}


@dataclass(slots=True)
class Engine:
    """A dedicated ServiceComb engine and its last job."""

    name: str
    job_id: int
    job: Run = Run.FAILED


@dataclass(slots=True)
class Project:
    """What one project owns, by ID."""

    engines: dict[str, Engine] = field(default_factory=dict[str, Engine])
    tasks: dict[str, dict[str, Run]] = field(default_factory=dict[str, dict[str, Run]])
    """Script tasks, each with its records."""

    def retry_engine(self, engine_id: str) -> Engine:
        """Make the failed job of an engine run again.

        Raises:
            Refusal: no such engine, or nothing to retry.
        """
        engine = self.engines.get(engine_id)
        if engine is None:
            what = f"Engine instance not found; the mock has {_known(self.engines)}."
            raise Refusal(400, "SVCSTG.00501116", what, detail="engine_id")
        if engine.job is not Run.FAILED:
            what = f"The engine has no failed job to retry: job {engine.job_id} is {engine.job.value}."
            raise Refusal(400, "SVCSTG.00501149", what, detail="engine_id")
        engine.job = Run.RUNNING
        return engine

    def retry_script(self, record_id: str | None, task_id: str | None) -> str:
        """Make one failed record run again or, with `task_id` alone, every failed record of a task.

        Returns:
            The task's ID.

        Raises:
            Refusal: no such record or task, none named, or nothing to retry.
        """
        if task_id is None:
            task_id = self._task_of(record_id)
        records = self.tasks.get(task_id)
        if records is None:
            raise _not_found(f"The script execution task does not exist; the mock has {_known(self.tasks)}.")
        if record_id is not None and record_id not in records:
            raise _not_found(f"The script execution record is not of task {task_id}, which has {_known(records)}.")
        chosen = list(records) if record_id is None else [record_id]
        failed = [record for record in chosen if records[record] is Run.FAILED]
        if not failed:
            runs = ", ".join(f"record {record} is {records[record].value}" for record in chosen)
            raise Refusal(400, "WKS.00211102", f"The parameter is invalid: nothing to retry: {runs}.")
        records.update(dict.fromkeys(failed, Run.RUNNING))
        return task_id

    def _task_of(self, record_id: str | None) -> str:
        if record_id is None:
            raise _not_found("There is nothing to retry: give record_id or task_id.")
        for task_id, records in self.tasks.items():
            if record_id in records:
                return task_id
        known = _known(record for records in self.tasks.values() for record in records)
        raise _not_found(f"The script execution record does not exist; the mock has {known}.")


class State:
    """All projects. Starts with the one that the examples of openapi.yaml speak of."""

    def __init__(self) -> None:
        self._projects: dict[str, Project] = {}
        self.reset()

    def reset(self) -> None:
        """Forget everything that happened."""
        self._projects = {
            "demo-project": Project(
                engines={"4a1bc63d-4719-4bd3-b1ad-5ee590b05e87": Engine(name="cse-gve7lg", job_id=18638)},
                tasks={"0000000059071dbc01591661d3990019": {"0000000059071dbc01591661d3990020": Run.FAILED}},
            )
        }

    def project(self, project_id: str) -> Project:
        """Return a project.

        Raises:
            Refusal: there is none of that ID.
        """
        if project_id not in self._projects:
            raise Refusal(403, "APIGW.0310", f"The project is unavailable; the mock has {_known(self._projects)}.")
        return self._projects[project_id]


def _not_found(error_msg: str) -> Refusal:
    return Refusal(404, "WKS.00211902", error_msg)


def _known(ids: Iterable[str]) -> str:
    """Name a few, so that a caller sees what would do."""
    first = list(islice(ids, 4))
    return ", ".join([*first[:3], *(["…"] if len(first) > 3 else [])]) or "none"  # noqa: PLR2004 - a few
