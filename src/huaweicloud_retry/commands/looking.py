"""`hwc-retry status`: reads the states, and prints them."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from huaweicloud_retry.bulk import Item
from huaweicloud_retry.bulk.items import rfc3339
from huaweicloud_retry.follow import look
from huaweicloud_retry.runs import Run, run_of_job
from huaweicloud_retry.runtime.errors import APIError, AuthenticationError, ConfigurationError, IAMError
from huaweicloud_retry.runtime.redaction import one_line
from huaweicloud_retry_client import Client
from huaweicloud_retry_client.api.cse import show_engine, show_engine_job
from huaweicloud_retry_client.types import UNSET

from .advice import advise_read, read_operation
from .exits import CommandError, Exit, printing
from .output import is_table, print_table
from .sending import as_command_errors, items_for, reader, settings_of

_RETRY: Final = {True: "; a retry would be accepted", False: "; a retry would be refused", None: ""}


def show(options: argparse.Namespace, fields: list[dict[str, str | None]]) -> int:
    """Read and print the state of items; returns the exit code.

    Args:
        options: Options of the command.
        fields: Fields of the items, all of one service.

    Raises:
        CommandError: Usage or configuration.
    """
    as_table = is_table(options.output)
    with as_command_errors():
        settings, items = settings_of(options), items_for(options, fields)
        with reader(settings, items[0].service) as client:
            found = list(_read(client, items, options.prog))
    with printing():
        if as_table:
            print_table(("", "status"), [row for each in found for row in _rows(each)])
        else:
            sys.stdout.write("[" + ",\n ".join(map(json.dumps, found)) + "]\n")
    return Exit.REFUSED if any("error" in each for each in found) else Exit.OK


def _read(client: Client, items: list[Item], prog: str) -> Iterator[dict[str, Any]]:
    """Read one item after the other. A 401 ends it, since five wrong signatures lock an access key."""
    refused: str | None = None
    for item in dict.fromkeys(items):
        (kind, id_), *_ = ((name, value) for name, value in item.fields().items() if name in _READS)
        if refused is not None:
            yield {kind: id_, "error": refused}
            continue
        try:
            yield {kind: id_, **_READS[kind](client, item)}
        except APIError as error:
            advice = advise_read(read_operation(item), error)
            with printing():
                sys.stderr.write(f"{prog}: {one_line(item.name)} cannot be read: {error}\n  -> {advice}\n")
            yield {kind: id_, "error": str(error)}
            if isinstance(error, AuthenticationError | IAMError):
                refused = "not read: authentication failed before"
        except ConfigurationError:
            raise
        except ValueError as error:  # an ID that is not valid in a path
            raise CommandError(str(error)) from error


def _engine(client: Client, item: Item) -> dict[str, Any]:
    where: tuple[str, str] = (item.project_id, str(item.engine_id))
    more: dict[str, Any] = {"client": client, "x_enterprise_project_id": item.enterprise_project_id or UNSET}
    engine = show_engine.sync(*where, **more)
    actions, job_id = engine.engine_additional_actions, engine.latest_job_id
    can_retry = "Retry" in actions if isinstance(actions, list) else None
    job = None
    if isinstance(job_id, int):
        job = {"id": job_id, **_run(run_of_job(show_engine_job.sync(*where, str(job_id), **more)))}
    return {"name": engine.name, "status": engine.status, "can_retry": can_retry, "job": job}


def _record(client: Client, item: Item) -> dict[str, Any]:
    (run,) = look(client, item).runs
    return {**_run(run), "can_retry": None if run.state == "unknown" else run.state == "failed"}


def _task(client: Client, item: Item) -> dict[str, Any]:
    status = look(client, item)
    runs = [run for run in status.runs if run.state == "failed"]
    failed = [{"record_id": run.name.removeprefix("record "), **_run(run)} for run in runs]
    can_retry = None if not failed and status.state == "unknown" else bool(failed)
    counts = Counter(run.word for run in status.runs)
    return {"state": status.state, "records": counts, "can_retry": can_retry, "failed": failed}


_READS: Final = {"engine_id": _engine, "record_id": _record, "task_id": _task}


def _run(run: Run) -> dict[str, Any]:
    began, ended = (None if at is None else rfc3339(at) for at in (run.began_at, run.ended_at))
    # A record that succeeded has a result_code, too: 0.
    reason = run.reason if run.state in {"failed", "unknown"} else None
    return {"status": run.word, "state": run.state, "began_at": began, "ended_at": ended, "reason": reason}


def _rows(seen: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the rows of a table about one item: its state, and details."""
    kind, id_ = next(iter(seen.items()))
    name = f"{kind.removesuffix('_id')} {id_}"
    if "error" in seen:
        yield "unknown", f"{name} cannot be read: {seen['error']}"
        return
    can_retry = _RETRY[seen["can_retry"]]
    if kind == "engine_id":
        job: dict[str, Any] = seen["job"] or {}
        yield job.get("state", "unknown"), f"{name} ({seen['name']}) is {seen['status']}{can_retry}"
        yield "", f"job {job['id']} is {job['status']}, {_when(job)}" if job else "it has no job"
    elif kind == "record_id":
        yield seen["state"], f"{name} is {seen['status']}{can_retry}"
        yield "", _when(seen)
    else:
        records = ", ".join(f"{count:,} {word}" for word, count in seen["records"].items())
        yield seen["state"], f"{name}: {records or 'it has no records: check the ID'}{can_retry}"
        for each in seen["failed"]:
            yield "", f"record {each['record_id']} is {each['status']}, {_when(each)}"


def _when(run: Mapping[str, Any]) -> str:
    """Return the start of running work, else its end, and why it failed."""
    what, at = ("since", run["began_at"]) if run["state"] == "running" else ("ended", run["ended_at"])
    when = f"{what} {at.partition('.')[0].replace('T', ' ')}Z" if at else f"{what}: time not known"
    return f"{when}: {run['reason']}" if run["reason"] else when
