"""The mock's state, in memory and lost at exit, and what it refuses because of it.

State                   starts as in state.yaml or another state file
├── credentials         accepted credentials
└── project(id)         engines with jobs, script tasks with records

All methods run on the server's event loop, and none awaits between a check and a change:
of two simultaneous retries, exactly one is accepted.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple, TypeAlias, cast

from huaweicloud_retry.parsing import Json, Violation, read_checked, read_yaml

from .data import data, validator
from .iam import Credentials
from .response import Refusal, some

StateDescription: TypeAlias = dict[str, Any]
"""The content of a state file, valid by state.schema.yaml."""


class Kind(NamedTuple):
    """A kind of work, with the names of its statuses."""

    noun: str
    failed: frozenset[str]
    running: frozenset[str]
    retried: str  # the status right after a retry
    done: str


_ENDED_BEFORE = 3600.0  # seconds before the mock's start at which finished work ended

# Job statuses: as in ShowEngineJob. Record statuses are not documented: these are from the filter of
# ShowDesktopPoolsScriptExecTasks.
_JOB_RUNNING = frozenset({"PreInit", "Init", "Executing"})
JOB = Kind("job", frozenset({"Error", "Timeout"}), _JOB_RUNNING, "Executing", "Finished")
RECORD = Kind("record", frozenset({"FAILED"}), frozenset({"WAITING", "RUNNING"}), "RUNNING", "SUCCESS")


class Work:
    """A job of an engine, or a record of a script task: it runs, ends and may be retried."""

    __slots__ = (
        "_began_at",
        "_ends_at",
        "_kind",
        "_retries_end",
        "_run_time",
        "_status",
        "given",
        "id",
        "retries",
    )

    def __init__(
        self, kind: Kind, id_: str | int, given: Mapping[str, Any], run_time: float, now: float
    ) -> None:
        self.id, self._kind, self.given = id_, kind, given
        self.retries = 0
        self._status: str = given["status"]
        self._run_time: float = given.get("run_time", run_time)
        self._retries_end: list[str] = given.get("retries_end", [kind.done])
        self._begin(now if self._status in kind.running else now - _ENDED_BEFORE - self._run_time)

    def _begin(self, now: float) -> None:
        self._began_at, self._ends_at = now, now + self._run_time

    def times(self, now: float) -> tuple[float, float | None]:
        """Return when it began, and when it ended or None."""
        return self._began_at, None if self.runs(now) else self._ends_at

    def runs(self, now: float) -> bool:
        return self.status(now) in self._kind.running

    def status(self, now: float) -> str:
        """Return the current status."""
        if self._status in self._kind.running and now >= self._ends_at:
            self._status = self._retries_end[min(max(self.retries, 1), len(self._retries_end)) - 1]
        return self._status

    def failed(self, now: float) -> bool:
        return self.status(now) in self._kind.failed

    def retry(self, now: float) -> None:
        self.retries += 1
        self._status = self._kind.retried
        self._begin(now)

    def describe(self, now: float) -> str:
        """Return its kind, ID and status as text."""
        return f"{self._kind.noun} {self.id} is {self.status(now)}"

    def as_json(self, now: float) -> dict[str, Json]:
        return {"status": self.status(now), "retries": self.retries}


@dataclass(slots=True)
class Engine:
    """A dedicated ServiceComb engine. Only its last job can be retried."""

    name: str
    jobs: list[Work]


@dataclass(slots=True)
class Project:
    """The engines and script tasks of a project, by ID."""

    name: str
    now: Callable[[], float]
    engines: dict[str, Engine] = field(default_factory=dict[str, Engine])
    tasks: dict[str, dict[str, Work]] = field(default_factory=dict[str, dict[str, Work]])
    """The records of each script task."""
    task_of: dict[str, str] = field(default_factory=dict[str, str])
    """The task of each record."""

    def retry_engine(self, engine_id: str) -> Json:
        """Run the failed job of an engine again. Raises Refusal: unknown engine, or nothing to retry."""
        engine = self.engine(engine_id)
        now, job = self.now(), engine.jobs[-1]
        if not job.failed(now):
            what = f"The engine has no failed job to retry: {job.describe(now)}."
            raise Refusal("nothing-to-retry", what)
        job.retry(now)
        return {"id": engine_id, "name": engine.name, "jobId": job.id}

    def retry_script(self, record_id: str | None, task_id: str | None) -> Json:
        """Run a failed record again or, without `record_id`, all failed ones of a task. Raises Refusal."""
        if task_id is None:
            task_id = self._task_of(record_id)
        records = self.tasks.get(task_id)
        if records is None:
            raise _not_found(f"The script execution task does not exist; the mock has {some(self.tasks)}.")
        if record_id is not None and record_id not in records:
            what = f"The script execution record is not in task {task_id}, which has {some(records)}."
            raise _not_found(what)
        now = self.now()
        chosen = list(records.values()) if record_id is None else [records[record_id]]
        failed = [record for record in chosen if record.failed(now)]
        if not failed:
            runs = some(record.describe(now) for record in chosen)
            raise Refusal("nothing-to-retry", f"The parameter is invalid: nothing to retry: {runs}.")
        for record in failed:
            record.retry(now)
        return {"task_id": task_id}

    def engine(self, engine_id: str) -> Engine:
        """Return an engine. Raises Refusal: its ID is unknown."""
        if engine_id not in self.engines:
            what = f"Engine instance not found; the mock has {some(self.engines)}."
            raise Refusal("unknown-engine", what)
        return self.engines[engine_id]

    def job(self, engine_id: str, job_id: str) -> Work:
        """Return a job of an engine. Raises Refusal: the ID of engine or job is unknown."""
        jobs = {str(job.id): job for job in self.engine(engine_id).jobs}
        if not (job_id.isascii() and job_id.removeprefix("-").isdigit()):
            raise Refusal("invalid-job-id", "The task ID is invalid: it must be an integer.")
        if job_id not in jobs:
            raise Refusal("unknown-job", f"Task not found; the engine has {some(jobs)}.")
        return jobs[job_id]

    def record(self, record_id: str) -> tuple[str, Work]:
        """Return the ID of a record's task, and the record. Raises Refusal: its ID is unknown."""
        task_id = self._task_of(record_id)
        return task_id, self.tasks[task_id][record_id]

    def _task_of(self, record_id: str | None) -> str:
        if record_id is None:
            raise _not_found("There is nothing to retry: give record_id or task_id.")
        if record_id not in self.task_of:
            what = f"The script execution record does not exist; the mock has {some(self.task_of)}."
            raise _not_found(what)
        return self.task_of[record_id]

    def as_json(self) -> dict[str, Json]:
        """Return this project for /_mock/state."""
        now, engines, tasks = self.now(), dict[str, Json](), dict[str, Json]()
        for id_, engine in self.engines.items():
            jobs: list[Json] = [{"id": job.id, **job.as_json(now)} for job in engine.jobs]
            engines[id_] = {"name": engine.name, "jobs": jobs}
        for id_, records in self.tasks.items():
            tasks[id_] = {"records": {key: record.as_json(now) for key, record in records.items()}}
        return {"name": self.name, "engines": engines, "script_tasks": tasks}


class State:
    """Projects, credentials and clock. Starts with a result of `read_state`, by default state.yaml's."""

    def __init__(self, start: StateDescription | None = None) -> None:
        self._start = start or _builtin()
        self.ahead = 0.0  # seconds ahead of the machine's clock, so that jobs and tokens end without waiting
        self.projects: dict[str, Project] = {}
        self.credentials = Credentials({}, self.now)
        self.reset()

    def now(self) -> float:
        """Return the time of the mock's clock, in seconds since the epoch."""
        return time.time() + self.ahead

    def reset(self) -> None:
        """Restore the initial state and the machine's time."""
        self.ahead = 0.0
        self.become(self._start)

    def become(self, description: StateDescription) -> None:
        """Replace everything by a new state, until the next reset."""
        self.ahead = description.get("seconds_ahead", self.ahead)
        run_time: float = {**_builtin(), **description}["run_time"]
        now = self.now()
        described: dict[str, Any] = description["projects"]
        projects = {id_: self._project(id_, given, run_time, now) for id_, given in described.items()}
        builtin = "credentials" not in description or description is _builtin()
        given: Mapping[str, Any] = _builtin()["credentials"] if builtin else description["credentials"]
        self.projects, self.credentials = projects, Credentials(given, self.now, public=builtin)

    def _project(self, project_id: str, given: Mapping[str, Any], run_time: float, now: float) -> Project:
        project = Project(given.get("name", project_id), self.now)
        for id_, engine in given.get("engines", {}).items():
            jobs = [Work(JOB, job["id"], job, run_time, now) for job in engine["jobs"]]
            project.engines[id_] = Engine(engine["name"], jobs)
        for id_, task in given.get("script_tasks", {}).items():
            records: dict[str, Any] = task["records"]
            works = {key: Work(RECORD, key, record, run_time, now) for key, record in records.items()}
            project.tasks[id_] = works
            project.task_of |= dict.fromkeys(task["records"], id_)
        return project

    def project(self, project_id: str) -> Project:
        """Return a project. Raises Refusal: its ID is unknown."""
        if project_id not in self.projects:
            raise Refusal("project", f"The project is unavailable; the mock has {some(self.projects)}.")
        return self.projects[project_id]

    def as_json(self) -> dict[str, Json]:
        """Return the response of /_mock/state: everything except credentials."""
        projects: dict[str, Json] = {id_: project.as_json() for id_, project in self.projects.items()}
        return {"seconds_ahead": self.ahead, "projects": projects}


def read_state(raw: bytes) -> StateDescription:
    """Read a state file. Raises UnreadableError: with the line and the reason."""
    name = "state.schema.yaml"
    hidden = "credentials", validator(name, secrets=True)
    return cast("StateDescription", read_checked(raw, validator(name), _records_of_two_tasks, hidden))


def _records_of_two_tasks(described: StateDescription) -> Iterator[Violation]:
    for project_id, project in described["projects"].items():
        task_of: dict[str, str] = {}
        for task_id, task in project.get("script_tasks", {}).items():
            for record_id in task["records"]:
                other = task_of.setdefault(record_id, task_id)
                if other != task_id:
                    path = ["projects", project_id, "script_tasks", task_id, "records", record_id]
                    yield Violation(path, f"this record already belongs to task {other}")


@cache
def _builtin() -> StateDescription:
    return cast("StateDescription", read_yaml(data("state.yaml")))


def _not_found(error_msg: str) -> Refusal:
    return Refusal("unknown", error_msg)
