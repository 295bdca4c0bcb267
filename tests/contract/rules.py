"""What a server is held to beyond what the schemas of openapi.yaml say. Each rule is black-box: see tested.py.

about the request   a response repeats what was asked for
state               failed -> retried -> running -> ended
codes               x-error-codes
headers             X-Request-Id, Retry-After, Allow
strictness          nearly valid requests are refused, and run nothing
HTTP                framing, connections, Accept-Encoding, Expect
credentials         tokens, signatures
limits              x-limits, to the byte
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from hashlib import sha256
from itertools import combinations
from typing import Any
from urllib.parse import quote, urlencode

from tests.contract import wire
from tests.contract.states import any_order_of_retries_reads_and_time_keeps_the_states
from tests.contract.tested import FAILED, RULES, RUNNING, BrokenError, NotApplicableError, Tested, Work, rule
from tests.contract.wire import Reply, Request

__all__ = ["RULES", "any_order_of_retries_reads_and_time_keeps_the_states"]  # the last one is a rule, too

_IAM_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_SECOND = 2  # of execute_order: not gray, so not of the first batch
_MANY = 150  # retries in a row: a server that refuses one in fifty at random is found
_PAGE, _BY_DEFAULT = 100, 10  # records a page has at most
_A_MINUTE = 60.0  # seconds, in which a server has responded
_A_DAY = 86_400  # seconds
_TIMES = ("startTime", "start_time"), ("endTime", "end_time")
_FILTERS = ("script_id", "script_name", "resource_id", "resource_group_id", "task_type", "status")
_FIRST, _LAST = 10**12, 10**13  # milliseconds: the years 2001 and 2286


# --- The response is about the request ----------------------------------------------------------------------


@rule("cse-page", spends=True)
def an_engine_retry_names_the_engine_and_its_job(server: Tested) -> None:
    """RetryEngine returns the ID and name of the engine asked for, and its last job's ID, an integer."""
    for engine in server.all_failed(server.engines()):
        with server.changes(engine):
            _names_what_runs(server, engine, server.accepted(server.retry(engine)))


@rule("workspace-page", spends=True)
def a_script_retry_names_the_task_that_runs(server: Tested) -> None:
    """RetryScriptExecution returns a task; what was retried is among the records of that task, and runs or has run."""
    for record in server.all_failed(server.records()):
        with server.changes(record):
            _names_what_runs(server, record, server.accepted(server.retry(record)))


def _names_what_runs(server: Tested, work: Work, reply: Reply) -> None:
    if work.task:
        page = _of_task(server, work.project, str(reply.get("task_id")))
        if work.id not in {each["id"] for each in page.get("script_records")}:
            server.broken(reply, f"task_id {reply.get('task_id')!r} is no task of record {work.id}")
        return
    expected = {"id": work.id, "name": work.engine["name"], "jobId": work.given["id"]}
    for name, value in expected.items():
        if reply.get(name) != value or type(reply.get(name)) is not type(value):
            server.broken(reply, f"{name} is {reply.get(name)!r}, and not {value!r}")


@rule("cse-docs: ShowEngine, ShowEngineJob")
def an_engine_is_shown_with_its_jobs(server: Tested) -> None:
    """ShowEngine and ShowEngineJob return the engine or job named, in the status that it has."""
    for engine in server.engines():
        shown = server.accepted(server.request("ShowEngine", project_id=engine.project, engine_id=engine.id))
        job, runs = engine.given["id"], engine.status in RUNNING
        _has(server, shown, id=engine.id, name=engine.engine["name"])
        _has(server, shown, projectId=engine.project, latestJobId=job)
        actions = shown.get("engineAdditionalActions")
        if actions is not None and ("Retry" in actions) != engine.failed:
            server.broken(shown, f"the last job is {engine.status}, and the engine's actions are {actions}")
        if shown.get("status") == "Available" and (runs or engine.failed):
            server.broken(shown, f"the last job is {engine.status}, and the engine is Available")
        if shown.get("status") == "Modifying" and not runs:
            server.broken(shown, f"the last job is {engine.status}, and the engine is modified")
        _jobs(server, engine)


@rule("workspace-docs: ListScriptRecords, ShowScriptRecordDetail")
def a_record_is_shown_as_it_is_listed(server: Tested) -> None:
    """ShowScriptRecordDetail returns the record named, with all that ListScriptRecords has of it and what the state describes."""
    for record in server.records():
        server.accepted(server.read(record))
        reply = server.accepted(server.read(record))  # as it was before
        fields = {"script_id", "script_name", "resource_id", "resource_name", "execute_order", "output"}
        fields |= {"result_code", "reason"} if record.failed else set()
        _has(server, reply, id=record.id, script_task_id=record.task, status=record.status)
        described = {name: record.given[name] for name in fields & {*record.given}}
        if missing := described.items() - (reply.json or {}).items():
            server.broken(reply, f"the description has {dict(missing)}")
        page = _of_task(server, record.project, record.task)
        listed: Any = next((each for each in page.get("script_records") if each["id"] == record.id), {})
        if differing := listed.items() - reply.json.items():
            server.broken(reply, f"ListScriptRecords has {dict(differing)}")


def _jobs(server: Tested, engine: Work) -> None:
    for each in engine.engine["jobs"]:
        path: Any = {"project_id": engine.project, "engine_id": engine.id, "job_id": each["id"]}
        reply = server.accepted(server.request("ShowEngineJob", **path))
        _has(server, reply, id=each["id"], engineId=engine.id, status=each["status"])
        _job(server, reply)


def _job(server: Tested, reply: Reply) -> None:
    """Check what a job says of itself."""
    _times(server, reply, reply.json)
    if reply.get("scheduling") not in {None, int(reply.get("status") == "Executing")}:
        server.broken(reply, f"scheduling is {reply.get('scheduling')}, and the job {reply.get('status')}")
    steps = reply.get("tasks") or ()
    tasks = [task for step in steps for task in step.get("tasks") or ()]
    shown = {each.get("status") for each in (*steps, *tasks)}
    if steps and reply.get("status") in FAILED and not shown & FAILED:
        server.broken(reply, f"the job has failed, and its steps and tasks are {shown}")
    for task in tasks:
        if task.get("jobId") not in {None, reply.get("id")}:
            server.broken(reply, f"a task is of job {task['jobId']}, and not {reply.get('id')}")


def _times(server: Tested, reply: Reply, said: Any) -> None:
    """Check the times of a job, of its steps and of their tasks."""
    began, ended = said.get("startTime"), said.get("endTime")
    times = [at for at in (began, ended) if at is not None]
    if times != sorted(times) or any(not _FIRST < at < _LAST for at in times):
        server.broken(reply, f"startTime {began} and endTime {ended} are no milliseconds, in order")
    for part in said.get("tasks") or ():
        _times(server, reply, part)


def _has(server: Tested, reply: Reply, **expected: Any) -> None:
    for name, value in expected.items():
        found = reply.get(name)
        if found is None and name not in {"id", "status", "name"}:
            continue  # not every server has what the contract leaves out of `required`
        if found != value or type(found) is not type(value):
            server.broken(reply, f"{name} is {found!r}, and not {value!r}")


@rule("workspace-docs: the parameters of ListScriptRecords")
def a_list_has_what_matches_and_nothing_else(server: Tested) -> None:
    """Each filter of ListScriptRecords, several of them, and pages: the records that match, each once, and their number."""
    arrays = {each["name"] for each in _parameters(server) if each["schema"].get("type") == "array"}
    for project in server.state["projects"]:
        own = [work for work in server.records() if work.project == project]
        for name in _FILTERS:
            for query, values in _filters(name, own, is_array=name in arrays):
                _listed(server, project, query, [w for w in own if _known(w, name) in values])
        for query, expected in (*_others(own), *_combined(own)):
            _listed(server, project, query, expected)
        others = _page(server, project, f"is_first_order=false&limit={_PAGE}")
        second = sum(work.given.get("execute_order") == _SECOND for work in own)
        if others.get("count") not in {len(own), second}:  # documented for true only
            server.broken(others, f"is_first_order=false: {others.get('count')} of {len(own)}")
        _page(server, project, "show_history=true&resource_id=any&script_id=any")
        _by_time(server, project)
        _pages(server, project, own)


def _parameters(server: Tested) -> list[Any]:
    document: Any = server.contract.document
    return [*document.get("components", {}).get("parameters", {}).values()]


def _filters(name: str, own: list[Work], *, is_array: bool) -> Iterator[tuple[str, set[str]]]:
    """Yield queries with one filter, and the values that match."""
    known = sorted({work.given[name] for work in own if name in work.given})
    for value in known:
        yield urlencode({name: value}), {value}
    if name == "task_type":  # an enum
        return
    for other in sorted({like for value in known for like in _like(value)} - {*known}):
        yield urlencode({name: other}, quote_via=quote), set()
    for separator in ",;| " if len(known) > 1 else ():
        yield urlencode({name: separator.join(known[:2])}, quote_via=quote), set()
    if is_array and known:
        yield urlencode([(name, value) for value in known]), {*known}


def _others(own: list[Work]) -> Iterator[tuple[str, list[Work]]]:
    yield "", own
    yield "show_history=false", own
    yield "script_task_id=no-such-task", []
    yield "is_first_order=true", [work for work in own if work.given.get("execute_order") != _SECOND]
    for task in dict.fromkeys(work.task for work in own):
        of_task = [work for work in own if work.task == task]
        yield f"script_task_id={task}", of_task
        yield f"script_task_id={task}&status=FAILED", [work for work in of_task if work.failed]
    for year, after, before in ((2001, own, []), (2200, [], own)):
        yield f"execute_time_start={year}-01-01T00:00:00Z", after
        yield f"execute_time_end={year}-01-01T00:00:00Z", before


def _combined(own: list[Work]) -> Iterator[tuple[str, list[Work]]]:
    """Yield queries with all that is known of a record, and with another value in place of each."""
    for record in own:
        known = {name: record.given[name] for name in _FILTERS if name in record.given}
        alike = [w for w in own if w.task == record.task and all(_known(w, n) == v for n, v in known.items())]
        known["script_task_id"] = record.task
        yield f"{urlencode(known)}&execute_time_start=2001-01-01T00:00:00Z", alike
        for name in known.keys() - {"task_type"}:
            yield urlencode(known | {name: "another"}), []


def _like(value: str) -> Iterator[str]:
    """Yield what is equal to a text to those who compare in another way: by case, part, pattern or without blanks."""
    yield from (value.swapcase(), value[:-1], value[1:], f"{value} ", f" {value}")
    yield from (f"{value[:-1]}{any_}" for any_ in "_%*.?")
    yield from ("%", "*", ".*")


def _by_time(server: Tested, project: str) -> None:
    """Of a record that began at a whole second: neither after this time nor before it, but after the second before."""
    found = _page(server, project, f"limit={_PAGE}").get("script_records")
    began = {each["id"]: each.get("start_time") for each in found}
    for id_, at in began.items():
        if at and re.fullmatch(r"[0-9T:-]+Z", at):
            around = [datetime.fromisoformat(at) + timedelta(seconds=seconds) for seconds in (-1, 0, 1)]
            for name, expected in (("start", [True, False, False]), ("end", [False, False, True])):
                for then, wanted in zip(around, expected, strict=True):
                    page = _page(
                        server, project, f"limit={_PAGE}&execute_time_{name}={then:%Y-%m-%dT%H:%M:%SZ}"
                    )
                    if (id_ in {each["id"] for each in page.get("script_records")}) != wanted:
                        server.broken(page, f"{id_} began at {at}")
            return


def _pages(server: Tested, project: str, own: list[Work]) -> None:
    page = _page(server, project, "")
    if (size := len(page.get("script_records"))) != min(len(own), _BY_DEFAULT):
        server.broken(page, f"without limit, a page of {size}")
    for offset in (len(own), (1 << 31) - 1):
        behind = _page(server, project, f"offset={offset}")
        if behind.get("script_records") or behind.get("count") != len(own):
            server.broken(behind, f"a page behind the last of {len(own)}")
    for size in (1, 2, 3):
        pages = [_page(server, project, f"offset={at}&limit={size}") for at in range(0, len(own), size)]
        shown = [record["id"] for page in pages for record in page.get("script_records")]
        if sorted(shown) != sorted(work.id for work in own):
            server.broken(pages[-1], f"pages of {size} show {shown}")
        for page in pages:
            if page.get("count") != len(own):
                server.broken(page, f"count is {page.get('count')}, and {len(own)} records match")


def _known(work: Work, name: str) -> Any:
    return work.given.get(name, "SCRIPT" if name == "task_type" else None)


def _page(server: Tested, project: str, query: str) -> Reply:
    return server.accepted(server.request("ListScriptRecords", project_id=project, query=query))


def _of_task(server: Tested, project: str, task: str, more: str = "") -> Reply:
    return _page(server, project, f"script_task_id={quote(task, safe='')}&limit={_PAGE}{more}")


def _listed(server: Tested, project: str, query: str, expected: list[Work]) -> None:
    wanted = sorted(work.id for work in expected)
    for more, number in (("", len(wanted)), ("&offset=1", max(0, len(wanted) - 1))):
        reply = _page(server, project, f"{query}&limit={_PAGE}{more}".lstrip("&"))
        shown = sorted(record["id"] for record in reply.get("script_records"))
        if not {*shown} <= {*wanted} or len(shown) != number or reply.get("count") != len(wanted):
            of = f"shown are {shown} of {reply.get('count')}, and not {number} of {wanted}"
            server.broken(reply, f"{query or 'all'}: {of}")


@rule("cse-docs, gateway-docs: 0310")
def another_project_has_nothing_of_this_one(server: Tested) -> None:
    """Engines and records are known in their own project only; an unknown project is unavailable."""
    for request in _all_operations(server, project="no-such-project"):
        server.refused(request, "project")
    here, other = server.project(), server.project(other=True)
    failed = [
        work for work in (*server.engines(), *server.records()) if work.project == other and work.failed
    ]
    engine = server.fresh((work for work in failed if not work.task), "engine of another project")
    record = server.fresh((work for work in failed if work.task), "record of another project")
    path: Any = {"project_id": here, "engine_id": engine.id}
    server.refused(server.request("RetryEngine", **path, body={"action": "Retry"}), "unknown-engine")
    server.refused(server.request("ShowEngine", **path), "unknown-engine")
    for body in ({"record_id": record.id}, {"task_id": record.task}):
        server.refused(server.request("RetryScriptExecution", project_id=here, body=body), "unknown")
    server.refused(server.request("ShowScriptRecordDetail", project_id=here, record_id=record.id), "unknown")


def _all_operations(server: Tested, project: str = "", **more: Any) -> Iterator[Request]:
    """Yield a valid request for each operation, about work of which every retry is accepted."""
    engine, record = server.again("engine"), server.again("record")
    in_project: Any = {"project_id": project or engine.project}
    of_engine: Any = {**in_project, "engine_id": engine.id}
    yield server.request("RetryEngine", **of_engine, body={"action": "Retry"}, **more)
    yield server.request("ShowEngine", **of_engine, **more)
    yield server.request("ShowEngineJob", **of_engine, job_id=engine.given["id"], **more)
    yield server.request("RetryScriptExecution", **in_project, body={"record_id": record.id}, **more)
    if server.repeats(record.task):
        yield server.request("RetryScriptExecution", **in_project, body={"task_id": record.task}, **more)
    yield server.request("ListScriptRecords", **in_project, **more)
    yield server.request("ShowScriptRecordDetail", **in_project, record_id=record.id, **more)


# --- State --------------------------------------------------------------------------------------------------


@rule("facts 7; cse-docs: engineAdditionalActions")
def only_what_failed_is_retried(server: Tested) -> None:
    """What waits, runs or has succeeded is refused, and goes on as it was."""
    works = [work for work in (*server.engines(), *server.records()) if not work.failed]
    if not works:
        raise NotApplicableError("the state describes no work that waits, runs or has succeeded")
    for work in works:
        server.refused(server.retry(work), "nothing-to-retry")


@rule("facts 7; cse-docs: engineAdditionalActions; workspace-docs: status", spends=True)
def a_retry_runs_once_and_ends(server: Tested) -> None:
    """What failed is retried -> runs, is refused -> ended: failed again is retried again, succeeded is refused."""
    tried = 0
    for take in (server.failed_engine, server.failed_record):
        for _ in range(3):
            try:
                work = take()
            except NotApplicableError:
                break
            tried += 1
            _life(server, work)
    if not tried:
        raise NotApplicableError("the state describes no failed work with a run_time")


def _life(server: Tested, work: Work) -> None:
    ends = [*work.ends, work.ends[-1]] if work.ends[-1] in FAILED else work.ends
    for end in ends:
        with server.changes(work):
            accepted = server.accepted(server.retry(work))
            _names_what_runs(server, work, accepted)
        if server.status(work) not in RUNNING:
            server.broken(accepted, f"{work.id} was retried, and is {server.status(work)}")
        began = _begins_now(server, work)
        for _ in range(2):
            with server.changes():
                _engine_says(server, work, can_retry=False)
                server.refused(server.retry(work), "nothing-to-retry")
            server.wait(server.run_time(work) / 2)
        server.wait(1)
        _has_run(server, work, end, began)
        _list_says(server, work, end)
        _engine_says(server, work, can_retry=end in FAILED)
    if ends[-1] not in FAILED:
        server.refused(server.retry(work), "nothing-to-retry")


def _begins_now(server: Tested, work: Work) -> float | None:
    reply = server.accepted(server.read(work))
    began, ended = _times_of(reply)
    if not work.task:
        _job(server, reply)
    now = parsedate_to_datetime(reply.headers["date"]).timestamp() if "date" in reply.headers else None
    if began and now and abs(now - began) > _A_MINUTE:
        server.broken(
            reply, f"a retry that was accepted just now has begun at {began:.0f}, and Date is {now:.0f}"
        )
    if ended:
        server.broken(reply, "it runs, and has a time at which it has ended")
    return began


def _has_run(server: Tested, work: Work, end: str, begun: float | None) -> None:
    reply = server.accepted(server.read(work))
    if (now := reply.get("status")) != end:
        server.broken(reply, f"{work.id} has ended as {now}, and not as {end}")
    began, ended = _times_of(reply)
    if not work.task:
        _job(server, reply)
    if began != begun:
        server.broken(reply, f"it has begun at {began}, and at {begun} as was said before")
    ran, near = (ended or 0) - (began or 0), 2 if server.resets else _A_MINUTE
    if began and ended and abs(ran - server.run_time(work)) > near:
        server.broken(reply, f"by its times it ran for {ran:g} s, and not for {server.run_time(work):g} s")


def _times_of(reply: Reply) -> list[float | None]:
    """Return when a job or record began and ended, in seconds."""
    times = [reply.get(names[0]) or reply.get(names[1]) for names in _TIMES]
    return [
        datetime.fromisoformat(at).timestamp() if isinstance(at, str) else at and at / 1000 for at in times
    ]


def _list_says(server: Tested, work: Work, status: str) -> None:
    for filtered in ("SUCCESS", "FAILED") if work.task else ():
        page = _of_task(server, work.project, work.task, f"&status={filtered}")
        if (work.id in {each["id"] for each in page.get("script_records")}) != (filtered == status):
            server.broken(page, f"{work.id} is {status}")


def _engine_says(server: Tested, work: Work, *, can_retry: bool) -> None:
    if not work.task:
        shown = server.accepted(server.request("ShowEngine", project_id=work.project, engine_id=work.id))
        _has(server, shown, id=work.id, name=work.engine["name"], latestJobId=work.given["id"])
        actions = shown.get("engineAdditionalActions")
        if actions is not None and ("Retry" in actions) != can_retry:
            would = "accepted" if can_retry else "refused"
            server.broken(shown, f"engineAdditionalActions is {actions}; a retry would be {would}")


@rule("workspace-page: record_id, task_id", spends=True)
def a_task_is_retried_with_all_its_failed_records(server: Tested) -> None:
    """task_id runs each failed record of the task and no other; record_id that record alone, also with its task_id."""
    failed = [work for work in server.records() if work.failed]
    mixed = [work for work in failed if server.run_time(work) > 0]
    all_failed = Counter(work.task for work in failed)
    lasting = Counter(work.task for work in mixed)
    tasks = [task for task, count in lasting.items() if count > 1 and count == all_failed[task]]
    if not tasks:
        raise NotApplicableError("the state describes no task with two failed records that run for a while")
    for task in tasks:
        first, *others = [server.fresh([w], "failed record") for w in mixed if w.task == task]
        if len(others) > 1:  # or the task would have one failed record left
            body = {"record_id": first.id, "task_id": task}
            alone = server.request("RetryScriptExecution", project_id=first.project, body=body)
            with server.changes(first):
                server.accepted(alone)
        request = server.request("RetryScriptExecution", project_id=first.project, body={"task_id": task})
        with server.changes(*(others if len(others) > 1 else (first, *others))):
            _has(server, server.accepted(request), task_id=task)
        server.refused(request, "nothing-to-retry")


@rule("facts 7; assumption: the same holds for simultaneous retries", spends=True)
def of_simultaneous_retries_one_is_accepted(server: Tested) -> None:
    """Eight retries of the same work at once: one 200, the others refused as nothing to retry."""
    for work in (server.failed_engine(), server.failed_record()):
        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(server.send, [server.retry(work)] * 8))
        if (count := sum(reply.status == 200 for reply in replies)) != 1:
            server.broken(replies[0], f"{count} of 8 simultaneous retries were accepted")


@rule("workspace-page, cse-page: 200", with_="only_what_failed_is_retried")
def every_retry_of_failed_work_is_accepted(server: Tested) -> None:
    """150 retries in a row of work that fails again at once, by engine, record and task: none is refused."""
    record = server.again("record")
    requests = [server.retry(server.again("engine")), server.retry(record)]
    if server.repeats(record.task):
        body = {"task_id": record.task}
        requests.append(server.request("RetryScriptExecution", project_id=record.project, body=body))
    for request in requests:
        first = server.accepted(request)
        for _ in range(_MANY):
            if (reply := server.accepted(request)).json != first.json:
                server.broken(reply, f"the first retry had {first.json}")


@rule("RFC 9110, 9.2.1: a GET is safe", with_="an_engine_is_shown_with_its_jobs")
def a_read_changes_nothing(server: Tested) -> None:
    """The same read twice has the same body."""
    works = *server.engines(), *server.records()
    for request in (*_all_operations(server), *map(server.read, works)):
        if request.method == "GET":
            first, second = server.accepted(request), server.accepted(request)
            if first.json != second.json:
                server.broken(second, f"read again, it was {first.json} before")


# --- Codes --------------------------------------------------------------------------------------------------


@rule("cse-docs, workspace-docs: error codes")
def what_is_unknown_has_its_code(server: Tested) -> None:
    """Unknown engines, jobs, records and tasks: status and code of x-error-codes, and `detail` names the right thing."""
    here = server.project()
    engine = server.again("engine")
    for id_ in ("no-such-engine", "0", "a" * 64, "😀" * 64, "ü", "%", "a/b"):
        path: Any = {"project_id": here, "engine_id": id_}
        server.refused(server.request("RetryEngine", **path, body={"action": "Retry"}), "unknown-engine")
        server.refused(server.request("ShowEngine", **path), "unknown-engine")
        server.refused(server.request("ShowEngineJob", **path, job_id="1"), "unknown-engine")
    own = engine.given["id"]
    foreign = [each.engine["jobs"][0]["id"] for each in server.engines() if each.id != engine.id]
    there = {str(job["id"]) for job in engine.engine["jobs"]}
    jobs: list[tuple[Any, tuple[str, ...]]] = []
    absent = {"1", "-1", "2147483647", "99999999999", *map(str, foreign)} - there
    jobs += [(id_, ("unknown-job",)) for id_ in sorted(absent)]
    jobs += [(id_, ("unknown-job", "invalid-job-id")) for id_ in (f"0{own}", f"+{own}", f" {own}", f"{own} ")]
    odd = ("no-such-job", "1.0", "1e3", "0x1", "1a", "NaN", "\u0661", f"{own}.0")
    jobs += [(id_, ("invalid-job-id",)) for id_ in odd]
    for id_, causes in jobs:
        path = {"project_id": engine.project, "engine_id": engine.id, "job_id": id_}
        server.refused(server.request("ShowEngineJob", **path), *causes)
    for id_ in ("no-such-record", "😀" * 64):  # 64 letters
        unknown = server.request("ShowScriptRecordDetail", project_id=here, record_id=id_)
        server.refused(unknown, "unknown")
    record = next(iter(server.records()))
    tasks = {each.task for each in server.records()} - {record.task}
    for body in (
        *({}, {"record_id": "no-such-record"}, {"task_id": "no-such-task"}),
        *({"record_id": "😀" * 64}, {"task_id": "😀" * 64}),
        *({"record_id": record.task}, {"task_id": record.id}),
        *({"record_id": record.id, "task_id": task} for task in ("no-such-task", *tasks)),
        {"record_id": "no-such-record", "task_id": record.task},
    ):
        server.refused(server.request("RetryScriptExecution", project_id=here, body=body), "unknown")


@rule("gateway-docs: 0101; workspace-docs: 00000405; RFC 9110, 15.5.6: Allow, 9.3.2: HEAD")
def a_method_that_the_path_has_not_is_refused(server: Tested) -> None:
    """Any other method is a 405 with the service's code, without a body for HEAD; Allow names those of the path; no header changes the method."""
    for request in _all_operations(server):
        of_path = {each.method for each in server.of_path(request)}
        for method in sorted({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"} - of_path):
            names = ("X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method")
            override: dict[str, str | None] = dict.fromkeys(names, request.method)
            query = f"{request.target}{'&' if '?' in request.target else '?'}_method={request.method}"
            for each in (request, request.with_headers(override), request.with_headers(target=query)):
                reply = server.refused(each.with_headers(method=method), "method")
                if method == "HEAD" and (reply.content or reply.headers.get("content-length") == "0"):
                    server.broken(reply, "the response to HEAD has a body, or the length 0 of none")
                allow = reply.headers.get("allow", "")
                allowed = {name.strip() for name in allow.split(",")}
                if not of_path <= allowed or method in allowed:
                    server.broken(reply, f"Allow is {allow!r}, and the path has {', '.join(of_path)}")
        server.refused(request.with_headers(method=request.method.lower()), "method", "malformed")


# --- Headers ------------------------------------------------------------------------------------------------


@rule("sdk: X-Request-Id; gateway-docs: request_id", last=True)
def each_response_has_a_request_id_of_its_own(server: Tested) -> None:
    """Success or error, X-Request-Id is there, never twice the same, whatever the caller sends, and in a gateway's body."""
    requests = list(_all_operations(server)) * 2
    requests += [each.with_headers({"X-Request-Id": "of-the-caller"}) for each in requests[:7]]
    requests += [each.with_headers({"X-Auth-Token": "no-such-token"}) for each in requests[:7]]
    requests += [each.with_headers(method="PATCH") for each in requests[:7]]
    requests += [each.with_headers(body=b"{", method=each.method) for each in requests[:7] if each.body]
    requests += [*_all_operations(server, project="no-such-project"), Request("GET", "/v2/no-such-api")]
    for status in server.operation("RetryEngine").statuses:  # of which a mock may be asked for any
        requests += [each.with_headers({"Prefer": f"code={status}"}) for each in requests[:7]]
    for request in requests:
        reply = server.send(request)
        if str(reply.get("error_code")).startswith("APIG") and reply.get("request_id") is None:
            server.broken(reply, "the gateway's body has no request_id")


@rule("gateway-docs, cse-docs, workspace-docs: error codes", last=True)
def an_error_code_comes_with_its_status(_server: Tested) -> None:
    """Each error code of any response comes with a status that x-error-codes has for it, whatever the gateway's prefix."""


@rule("workspace-page, cse-page, gateway-docs: responses; RFC 9110, 6.6.1: Date", last=True)
def every_response_is_documented(_server: Tested) -> None:
    """Any response has a status of its operation, the headers, media type and body that openapi.yaml has for it, and Date."""


@rule("cse-page: jobId; workspace-docs: count; RFC 8259, 6", last=True)
def integers_are_written_as_integers(_server: Tested) -> None:
    """No integer of any response is written with a fraction, such as 18638.0."""


@rule("RFC 9110, 10.2.3; gateway-docs: 0308", last=True)
def a_throttled_request_says_when_to_come_back(server: Tested) -> None:
    """A 429 has code 0308 and Retry-After: whole seconds, or a date."""
    for request in _all_operations(server):
        reply = server.send(request.with_headers({"Prefer": "code=429"}))
        if reply.status != 429:
            raise NotApplicableError("no request is throttled here, and `Prefer: code=429` forces none")
        server.refused(request.with_headers({"Prefer": "code=429"}), "throttled")


# --- Strictness ---------------------------------------------------------------------------------------------


@rule("workspace-page, cse-page: IDs; RFC 3986, 6.2.2.1: case counts")
def an_id_is_taken_as_it_is(server: Tested) -> None:
    """An ID in another case, with blanks, cut, or with more at its end is unknown."""
    engine = next((e for e in server.engines() if e.id.swapcase() != e.id), None)
    record = next((r for r in server.records() if r.failed and r.id.swapcase() != r.id), None)
    if engine is None or record is None:
        raise NotApplicableError("the state describes no IDs with letters")
    changes: list[Callable[[str], str]] = [str.swapcase, " {}".format, lambda id_: id_[:-1]]
    changes += [partial("{1}{0}".format, end) for end in ("0", " ", "\0", "\u00a0", "\u200b", "/")]
    for change in changes:
        path: Any = {"project_id": engine.project, "engine_id": change(engine.id)}
        server.refused(server.request("ShowEngine", **path), "unknown-engine", "invalid")
        retry = server.request("RetryEngine", **path, body={"action": "Retry"})
        server.refused(retry, "unknown-engine", "invalid")
        path = {"project_id": record.project, "record_id": change(record.id)}
        server.refused(server.request("ShowScriptRecordDetail", **path), "unknown", "invalid")
        for body in ({"record_id": change(record.id)}, {"task_id": change(record.task)}):
            request = server.request("RetryScriptExecution", project_id=record.project, body=body)
            server.refused(request, "unknown", "invalid")
        project = server.request("ListScriptRecords", project_id=change(record.project))
        server.refused(project, "project", "invalid")


@rule("workspace-page, cse-page: URI; gateway-docs: 0101; RFC 3986, 2.2")
def a_path_is_matched_as_it_was_sent(server: Tested) -> None:
    """Another case, a slash more, or an encoded slash or letter in what is fixed: no such API. In an ID, %2D is a hyphen, %252D is not, + is a plus."""
    for request in _all_operations(server):
        path, mark, query = request.target.partition("?")
        head, _, tail = path.rpartition("/")
        at = path.index("/enginemgr" if "/enginemgr" in path else "/script") + 1
        wrong = [f"{path}/", f"/{path}", f"/x/..{path}", f"{head}%2F{tail}", f"{head}%2f{tail}"]
        wrong += [f"{path};a=b" if request.method == "POST" else f"{path}/x"]
        wrong += [path.replace("/v2/", other) for other in ("/V2/", "/v2//")]
        letters = path[at].upper(), f"%{ord(path[at]):02X}"
        wrong += [f"{path[:at]}{letter}{path[at + 1 :]}" for letter in letters]
        for each in wrong:
            other = request.with_headers(target=f"{each}{mark}{query}")
            if not server.of_path(other):  # or it is another ID
                server.refused(other, "unknown-api")
    engine = server.again("engine")
    encoded = "".join(f"%{ord(letter):02X}" for letter in engine.id)
    request = server.request("ShowEngine", project_id=engine.project, engine_id="ENGINE-ID")
    shown = server.accepted(request.with_headers(target=request.target.replace("ENGINE-ID", encoded)))
    _has(server, shown, id=engine.id)
    twice = request.target.replace("ENGINE-ID", encoded.replace("%", "%25", 1))
    server.refused(request.with_headers(target=twice), "unknown-engine", "invalid")
    for work in (work for work in server.engines() if "+" in work.id):
        plus = server.request("ShowEngine", project_id=work.project, engine_id="ENGINE-ID")
        for name in (work.id, work.id.replace("+", "%2B")):
            named = plus.with_headers(target=plus.target.replace("ENGINE-ID", name))
            for signed in (named, server.signed(named)):
                _has(server, server.accepted(signed), id=work.id)


_NO_JSON = (
    *(b"", b"{", b"[", b"Retry", b"{}{}", b"{'a': 1}", b'{"a": 1,}', b"//\n{}"),
    *(
        b"\xff",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 01}',
        *(
            b'{"a": %b}' % wrong
            for wrong in (b"+1", b".5", b"1.", b"0x1", b"True", b"undefined", b"'a'", b'"\\x"', b'"\t"')
        ),
        b"{a: 1}",
        b'{"a": "\n"}',
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
    ),
)
_NO_JSON_TYPES = (
    *("text/plain", "application/x-www-form-urlencoded", "application/jsonp", "", None),
    *("application/json; charset=utf-16", "application/json;charset=latin-1"),
)


@rule("workspace-page, cse-page: the body; RFC 8259")
def what_is_no_json_is_refused(server: Tested) -> None:
    """No body, no JSON, JSON with more behind it, NaN, a name twice, another charset or media type: 400, and nothing runs."""
    for work in (server.failed_engine(), server.failed_record()):
        request = server.retry(work)
        good = request.body
        name = "record_id" if work.task else "action"
        twice = good[:-1] + f', "{name}": "x"'.encode() + b"}"
        doubled = f'{{"{name}": "x", '.encode() + good[1:]
        latin = good[:-1] + b', "x": "\xfc"}'
        bodies = [*_NO_JSON, latin, twice, doubled, good + good, good + b"x", good[:-1]]
        bodies += [good.decode().encode(charset) for charset in ("utf-16", "utf-16-le", "utf-32")]
        for body in bodies:
            server.refused(request.with_headers(body=body), "malformed")
        for body in (b"null ", b'"Retry"', b"[" + good + b"]"):  # JSON, and no object
            server.refused(request.with_headers(body=body), "malformed", "invalid")
        for media_type in _NO_JSON_TYPES:
            server.refused(request.with_headers({"Content-Type": media_type}), "malformed", "invalid")
        utf16 = request.with_headers({"Content-Type": "application/json;charset=utf-16"})
        server.refused(utf16.with_headers(body=good.decode().encode("utf-16")), "malformed", "invalid")


_NO_ACTIONS: tuple[Any, ...] = (
    *("retry", "RETRY", " Retry", "Retry ", "Retry\0", "", "Stop", 1, 0, True, None, ["Retry"]),
    {"action": "Retry"},
)
_INVALID_QUERIES = """
limit=0 limit=101 limit=-1 limit=1.5 limit=10.0 limit=1e1 limit=%2B5 limit=%205 limit= limit=ten limit=1&limit=2
offset=1&offset=1 status=a&status=b task_type=SCRIPT&task_type=SCRIPT is_first_order=true&is_first_order=true
offset=-1 offset=x offset=2147483648 is_first_order=yes is_first_order=1 is_first_order=True
task_type=script task_type= status= script_id= script_task_id=a&script_task_id=b execute_time_start=2021-10-01
execute_time_start=2021-10-01T00:00:00%2B00:00 execute_time_end=2021-10-01T00:00:00 execute_time_end=2021-10-01%2000:00:00Z
execute_time_end=2021-10-01T00:00:00z execute_time_start=2021-10-01T00:00:00.5Z execute_time_start=1633046400
show_history=true show_history=1 show_history=true&resource_id=a show_history=true&script_id=a
"""


@rule("workspace-page, cse-page, workspace-docs: parameters")
def what_breaks_the_schema_is_refused(server: Tested) -> None:
    """Another action or case, a number, list or null for a text, an ID too long or empty: 400 as invalid, and nothing runs."""
    engine, record = server.failed_engine(), server.failed_record()
    retry = server.retry(engine)
    bodies: list[Any] = [{}, {"Action": "Retry"}, {"actions": "Retry"}]
    for body in (*bodies, *({"action": action} for action in _NO_ACTIONS)):
        server.refused(retry.with_headers(body=json.dumps(body).encode()), "invalid")
    values: list[Any] = [0, 18638, 1.5, True, None, "", "a" * 65]
    values += ["😀" * 65, [record.id], [{"record_id": record.id}], {"id": record.id}]
    for name in ("record_id", "task_id"):
        for value in values:
            body = {"record_id": record.id, "task_id": record.task} | {name: value}
            request = server.request("RetryScriptExecution", project_id=record.project, body=body)
            server.refused(request, "invalid")
    for request in (retry, *_all_operations(server)):
        for value in ("", "a" * 65) if "/engines/" in request.target else ():
            server.refused(request.with_headers({"X-Enterprise-Project-ID": value}), "invalid")
    for query in _INVALID_QUERIES.split():
        request = server.request("ListScriptRecords", project_id=record.project, query=query)
        names = [pair.partition("=")[0] for pair in query.split("&")]
        server.refused(request, "invalid", *["malformed"] * (len({*names}) < len(names)))
    in_project: Any = {"project_id": engine.project}
    for request in (
        server.request("ShowEngine", **in_project, engine_id="a" * 65),
        server.request("ShowEngineJob", **in_project, engine_id=engine.id, job_id="a" * 65),
        server.request("ShowScriptRecordDetail", **in_project, record_id="a" * 65),
    ):
        server.refused(request, "invalid")


@rule("RFC 3986, 2.5 and RFC 3629: UTF-8", last=True)  # behind most others: it has ended a server
def a_path_that_is_no_text_is_refused(server: Tested) -> None:
    """Bytes that are no UTF-8 in place of a project, engine, job or record: 400 for every operation, and nothing runs."""
    for request in _all_operations(server):
        path, _, _ = request.target.partition("?")
        found = server.contract.match(request.method, path)
        for value in getattr(found, "path_params", {}).values():
            for wrong in ("%FF", "%C0%AF", "%ED%A0%80"):
                target = request.target.replace(f"/{value}", f"/{wrong}", 1)
                server.refused(request.with_headers(target=target), "malformed", "invalid")


@rule(
    "assumption: unknown fields; sdk: plain application/json; RFC 9110, 5.1 and 8.3.1: case; RFC 9112, 3.2.2; RFC 8259, 7",
    with_="what_is_no_json_is_refused",
)
def what_is_valid_in_another_guise_is_accepted(server: Tested) -> None:
    """Unknown fields and parameters, blanks and escapes in JSON, a media type in another case, chunks, an absolute URL: valid, with a token and signed."""
    for work in (server.again("engine"), server.again("record")):
        for request in _guises(server.retry(work)):
            server.accepted(request)
            if not request.headers[0][0].islower():
                server.accepted(server.signed(request, "Host"))
    listed = server.request(
        "ListScriptRecords", project_id=server.project(), query="script_task_id=no-such-task"
    )
    reply = server.accepted(listed.with_headers(target=f"{server.url}{listed.target}"))
    if reply.json != server.accepted(listed).json:
        server.broken(reply, "a target in absolute form has another response than its path and query alone")


def _guises(request: Request) -> Iterator[Request]:
    body = json.loads(request.body)
    name, value = next(iter(body.items()))
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in value)
    for content in (
        json.dumps(body | {"unknown": 1, "zürich": ["ü"]}).encode(),
        json.dumps(body | {"unknown": "ü😀"}, ensure_ascii=False).encode(),
        f' \r\n\t{{ "{name}" : "{value}" }} \n'.encode(),
        f'{{"{name}": "{escaped}"}}'.encode(),
    ):
        yield request.with_headers(body=content)
    json_ = "application/json"
    for kind in (f"{json_};charset=UTF-8", f'{json_}; charset="utf-8"', "Application/JSON"):
        yield request.with_headers({"Content-Type": kind})
    yield request.with_headers(target=f"{request.target}?unknown=1&unknown=2")
    for id_ in ("1", "5e0d2a3c-0b1f-4a3e-9c2d-1f0e9d8c7b6a", "a" * 64):
        yield request.with_headers({"X-Enterprise-Project-ID": id_})
    for chunks in (1, 7, 1000):
        yield request.with_headers(chunks=chunks)
    lower = {name.lower(): value for name, value in request.headers}
    yield request.with_headers(dict.fromkeys(lower)).with_headers(lower)


# --- HTTP ---------------------------------------------------------------------------------------------------


@rule("RFC 9112, 9.3: responses in order, 6: framing")
def a_connection_has_one_response_for_each_request(server: Tested) -> None:
    """On one connection, also if they come at once: reads, refused retries, HEAD, a body in chunks, one that is too large: each has the response it has alone."""
    project, limit = server.project(), server.contract.limits.body
    lists = [server.request("ListScriptRecords", project_id=project, query=f"limit={n}") for n in (1, 2, 3)]
    retry = server.retry(server.again("engine")).with_headers(body=b"{")
    between = [retry, retry.with_headers(chunks=3), retry.with_headers(method="HEAD", body=b"")]
    between += [retry.with_headers(body=b"a" * (limit + 1))] if limit < 1 << 30 else []
    requests = [each for other in between for each in (*lists, other)] + lists
    alone = {request: server.send(request) for request in requests}
    for group, at_once in ((requests, False), ([*lists, retry, *lists], True)):
        left = group
        while left:
            replies = wire.exchange(server.url, left, at_once=at_once)
            for reply in replies:
                expected = alone[reply.request]
                if reply.status != expected.status or (reply.status == 200 and reply.json != expected.json):
                    server.broken(reply, f"on a connection of its own: {expected.status}")
            left = left[len(replies) :]
    if server.resets:
        first, _, second = wire.exchange(server.url, [lists[0], server.clock(_A_MINUTE), lists[0]])
        dates = [parsedate_to_datetime(each.headers["date"]) for each in (first, second)]
        if dates[1] - dates[0] < timedelta(seconds=_A_MINUTE):
            server.broken(second, f"a minute later on the same connection, Date is {dates[1]}")


@rule("RFC 9112, 6.3, 5.1 and 3.2: what a server must refuse")
def a_message_that_can_be_read_in_two_ways_is_refused(server: Tested) -> None:
    """Two lengths, a length that is no number, an unknown coding, a blank before the colon, no Host or two: no 200, and nothing runs."""
    for work in (server.failed_engine(), server.failed_record()):
        request = server.retry(work)
        size = len(request.body)
        for fields in (
            (("Content-Length", f"{size}"), ("Content-Length", f"{size + 1}")),
            (("Content-Length", f"{size + 1}"), ("Content-Length", f"{size}")),
            *(
                (("Content-Length", wrong),)
                for wrong in (f"+{size}", f"-{size}", f"{size}x", f"{size}, 3", "0x13")
            ),
            (("Content-Length ", f"{size}"), ("Content-Length", f"{size}")),
            (("Host", "a"), ("Host", "b")),
            *((("Transfer-Encoding", wrong),) for wrong in ("xchunked", "gzip", "chunked, identity")),
        ):
            reply = server.send(replace(request, headers=(*request.headers, *fields)))
            if reply.status != 501 and (reply.status < 400 or reply.status >= 500):
                said = ", ".join(map(": ".join, fields))
                server.broken(reply, f"{said} has status {reply.status}, and not 4xx or 501")
        for wrong in ("x", "-1", "0x4b", "4b4b4b4b4b4b4b4b4b", ""):
            reply = server.send(_chunked(request.with_headers(body=request.body.ljust(75)), wrong, ""))
            if reply.status < 400 or reply.status >= 500:
                server.broken(reply, f"a chunk of size {wrong!r} has status {reply.status}, and not 4xx")


@rule("RFC 9112, 6.5 and 7.1: chunks and trailers; RFC 9110, 5.6.1: case of tokens")
def a_body_in_chunks_is_read_and_its_trailer_is_no_header(server: Tested) -> None:
    """Chunks of any size, in hexadecimal digits of any case, with extensions: read. A token or media type in the trailer does not count."""
    for work in (server.again("engine"), server.again("record")):
        request = server.retry(work).with_headers(chunks=11)
        server.accepted(request)
        sized = request.with_headers(body=request.body.ljust(75), chunks=0)
        for coding, size in (("Chunked", "4B"), ("chunked", "4b;a=b"), ("chunked", "004b")):
            for trailer in ("", "X-Any: 1\r\n"):
                server.accepted(_chunked(sized, size, trailer, coding))
        for name in ("X-Auth-Token", "Content-Type"):
            without = sized.with_headers({name: None})
            is_needed = server.send(_chunked(without, "4b", "")).status != 200
            reply = server.send(_chunked(without, "4b", f"{name}: {dict(request.headers)[name]}\r\n"))
            if is_needed and reply.status == 200:
                server.broken(reply, f"{name} of the trailer is taken for a header")


def _chunked(request: Request, size: str, trailer: str, coding: str = "chunked") -> Request:
    body = f"{size}\r\n".encode() + request.body + f"\r\n0\r\n{trailer}\r\n".encode()
    return request.with_headers({"Transfer-Encoding": coding}, body=body)


@rule("RFC 9112, 9.3 and 9.6: close; RFC 9110, 7.6.1: case of options")
def a_connection_is_closed_if_the_caller_asks_for_it(server: Tested) -> None:
    """Connection: close, in any case, alone or in a list, or HTTP/1.0: one response, and no other on this connection."""
    listed = server.request("ListScriptRecords", project_id=server.project())
    closing = [listed.with_headers({"Connection": said}) for said in ("close", "Close", "x,CLOSE")]
    for request in (*closing, listed.with_headers(version="1.0")):
        first, *others = wire.exchange(server.url, [request, listed])
        if request.version == "1.0" and "transfer-encoding" in first.headers:
            server.broken(first, "a response to HTTP/1.0 is sent in chunks")
        if first.status != 200 or others:
            server.broken(first, f"status {first.status}, and then {len(others)} more responses")


@rule("RFC 9110, 12.5.3: Accept-Encoding")
def a_response_is_encoded_only_if_the_caller_takes_it(server: Tested) -> None:
    """No Content-Encoding if Accept-Encoding is empty, identity, unknown, or has q=0."""
    for request in _all_operations(server):
        for accepted in ("", "identity", "gzip;q=0", "identity, *;q=0", "x-unknown", "GZIP; q=0.0, br;q=0"):
            reply = server.accepted(request.with_headers({"Accept-Encoding": accepted}))
            if reply.headers.get("content-encoding", "identity") != "identity":
                server.broken(reply, f"Content-Encoding is {reply.headers['content-encoding']}")


@rule("RFC 9110, 10.1.1: Expect")
def a_caller_that_waits_for_100_is_sent_it(server: Tested) -> None:
    """Expect: 100-continue, in any case, with a length or in chunks, has an interim 100 or the final response before the body is sent."""
    for kind, expect, chunks in (("engine", "100-continue", 0), ("record", "100-Continue", 7)):
        request = server.retry(server.again(kind)).with_headers({"Expect": expect}, chunks=chunks)
        if not wire.responds_before_the_body(server.url, request):
            raise BrokenError(f"Expect: {expect} has no response in {wire.PATIENCE:g} s", request)


# --- Credentials --------------------------------------------------------------------------------------------


@rule("workspace-page, cse-page: X-Auth-Token; gateway-docs: 0301")
def a_wrong_token_is_refused(server: Tested) -> None:
    """None, an empty, cut, longer or other token, in another case or place, next to the right one: 401, and nothing runs."""
    token = server.token
    elsewhere = {"Authorization": f"Bearer {token}", "Cookie": f"X-Auth-Token={token}"}
    elsewhere |= dict.fromkeys(("X-Subject-Token", "X-Security-Token"), token)
    places = [*elsewhere.items(), ("Authorization", token)]
    wrong: list[dict[str, str | None]] = [{"X-Auth-Token": None, name: value} for name, value in places]
    others = ["", token[:-1], token[1:], token[: len(token) // 2], f"{token}x", f"x{token}", token.swapcase()]
    others += [f"Bearer {token}", f'"{token}"', f"{token},{token}"]
    wrong += [{"X-Auth-Token": other} for other in (None, *others) if other != token]
    works = server.failed_engine(), server.failed_record()
    for request in (*map(server.retry, works), *_all_operations(server)):
        for headers in wrong:
            server.refused(request.with_headers(headers), "credentials")
        for twice in ("X-Auth-Token", "no-such-token"), ("x-auth-token", ""):
            for fields in ((*request.headers, twice), (twice, *request.headers)):
                server.refused(replace(request, headers=fields), "credentials")
        query = request.target + ("&" if "?" in request.target else "?")
        in_query = request.with_headers({"X-Auth-Token": None}, target=f"{query}X-Auth-Token={token}")
        server.refused(in_query, "credentials")


@rule("workspace-page, cse-page: X-Auth-Token; gateway-docs: 0301")
def every_operation_needs_credentials(server: Tested) -> None:
    """Each operation of the contract, one that no other rule knows too, is refused with no or a wrong token."""
    for operation in server.contract.operations:
        path: Any = dict.fromkeys(re.findall(r"\{(\w+)\}", operation.path), "any")
        for token in (None, "no-such-token"):
            body: Any = {} if operation.takes_body else None
            request = server.request(operation.id, **path, auth=token, body=body)
            server.refused(request, "credentials", operation=operation.id)


@rule("iam-docs: expires_at; gateway-docs: 0307")
def a_token_ends_and_is_of_one_project(server: Tested) -> None:
    """A token is accepted until it expires, then refused as 0307, and so is one of another project."""
    here, other = server.project(), server.project(other=True)
    tokens = server.state["credentials"]["tokens"]
    for token, about in tokens.items():
        if about.get("project"):
            inside: Any = {"project_id": about["project"], "auth": token}
            server.accepted(server.request("ListScriptRecords", **inside))
            longer, shorter = f"{about['project']}-2", about["project"][:-1]
            for outside in (other if about["project"] == here else here, longer, shorter):
                for request in _all_operations(server, project=outside, auth=token):
                    server.refused(request, "token-expired")
    ending = [(token, about["expires_in"]) for token, about in tokens.items() if about.get("expires_in")]
    for (token, ends), begun in zip(ending, [0.0, *(ends for _, ends in ending)], strict=False):
        request = server.request("ListScriptRecords", project_id=here, auth=token)
        server.accepted(request)
        server.wait(ends - begun + 1)
        for request in _all_operations(server, auth=token):
            server.refused(request, "token-expired")
    if not ending:
        raise NotApplicableError("the credentials have no token with expires_in")


@rule("iam-docs; facts 1.1: X-Subject-Token, microseconds, 400, 401, 24 hours; gateway-docs: 0301, 0307")
def a_password_gets_a_token_of_its_project(server: Tested) -> None:
    """With a right password: 201, a token in the header alone, of its project until it expires, that ends no other; else 401 or 400."""
    users = server.state["credentials"].get("users", {})
    if not users:
        raise NotApplicableError("the credentials have no users")
    here, other = server.project(), server.project(other=True)
    tokens: list[str] = []
    for name, about in users.items():
        user = {"name": name, "password": about["password"], "domain": {"name": about["domain"]}}
        good = _login(user, {"project": {"id": here}})
        if server.send(good).status == 404:
            raise NotApplicableError("the server has no IAM")
        for wrong in _WRONG_LOGINS:
            _refused_by_iam(server, _login(user | wrong(user), {"project": {"id": here}}), 401)
            server.send(good)  # or five in a row would lock the user
        _malformed_logins(server, good)
        _logins_by_name(server, user)
        tokens += [_granted(server, good, name, here) for _ in range(2)]
        for token in tokens:  # a new token does not end the others
            server.accepted(server.request("ListScriptRecords", project_id=here, auth=token))
            elsewhere = server.request("ListScriptRecords", project_id=other, auth=token)
            server.refused(elsewhere, "token-expired")
        token = tokens[0]
        places = range(0, len(token), len(token) // 8)
        changed = [f"{token[:at]}{'1' if token[at] == '0' else '0'}{token[at + 1 :]}" for at in places]
        for altered in (*changed, token[1:], token[:-1], f"{token}0", token.swapcase()):
            server.refused(server.request("ListScriptRecords", project_id=here, auth=altered), "credentials")
    if server.resets:  # or it would take a day
        requests = [server.request("ListScriptRecords", project_id=here, auth=token) for token in tokens]
        server.wait(_lifetime(server) - _A_MINUTE)
        for request in requests:
            server.accepted(request)
        server.wait(_A_MINUTE + 1)
        for request in requests:
            server.refused(request, "token-expired")


def _logins_by_name(server: Tested, user: dict[str, Any]) -> None:
    for id_, about in server.state["projects"].items():
        login = _login(user, {"project": {"name": about.get("name", id_)}})
        token = _granted(server, login, user["name"], id_)
        server.accepted(server.request("ListScriptRecords", project_id=id_, auth=token))
        for other in server.state["projects"].keys() - {id_}:
            server.refused(server.request("ListScriptRecords", project_id=other, auth=token), "token-expired")


_WRONG_LOGINS: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = (
    lambda user: {"password": user["password"][:-1]},
    lambda user: {"password": user["password"].swapcase()},
    lambda _: {"password": ""},
    lambda user: {"name": user["name"].swapcase()},
    lambda user: {"domain": {"name": f"{user['domain']['name']}x"}},
)


def _malformed_logins(server: Tested, good: Request) -> None:
    replaced = (b'["password"]', b'["password", "totp"]'), (b'["password"]', b"[]"), (b'"auth"', b'"Auth"')
    bodies = [good.body.replace(*each) for each in replaced]
    bodies += [good.body[:-1], good.body[:-1] + b', "auth": {}}', b"", b"[]", b"{}", b'{"auth": 5}']
    for body in bodies:
        _refused_by_iam(server, good.with_headers(body=body), 400)
    _refused_by_iam(server, good.with_headers({"Content-Type": "text/plain"}), 400)


def _refused_by_iam(server: Tested, request: Request, status: int) -> None:
    reply = server.send(request)
    error = reply.get("error")
    if not isinstance(error, dict) or not (reply.status == error.get("code") == status):
        server.broken(reply, f"this is no {status} with IAM's error")
    if not {"message", "title"} <= error.keys() or "x-subject-token" in reply.headers:
        server.broken(reply, "IAM's error has no message or no title, or there is a token")


def _granted(server: Tested, request: Request, user: str, project: str) -> str:
    """Expect a token, and check what IAM says of it."""
    reply = server.send(request)
    told: Any = reply.get("token") or {}
    times = str(told.get("issued_at")), str(told.get("expires_at"))
    if reply.status != 201 or not all(map(_IAM_TIME.fullmatch, times)):
        server.broken(reply, f"status {reply.status}, issued and expires {' and '.join(times)}")
    lives = datetime.fromisoformat(times[1]) - datetime.fromisoformat(times[0])
    if abs(lives.total_seconds() - _lifetime(server)) > 1:
        server.broken(reply, f"the token is valid for {lives}, and not for {_lifetime(server)} s")
    if told.get("methods") != ["password"] or not isinstance(told.get("roles"), list):
        server.broken(reply, "methods is not [password], or there are no roles")
    if (told.get("project") or {}).get("id") != project or (told.get("user") or {}).get("name") != user:
        server.broken(reply, f"the token is of {told.get('project')} and {told.get('user')}")
    token = reply.headers.get("x-subject-token", "")
    if not token or token in reply.content.decode(errors="replace"):
        server.broken(reply, "the token is not in X-Subject-Token, or also in the body")
    return token


def _lifetime(server: Tested) -> float:
    seconds: float = server.state["credentials"].get("token_lifetime", _A_DAY)
    return seconds


def _login(user: dict[str, Any], scope: dict[str, Any]) -> Request:
    identity = {"methods": ["password"], "password": {"user": user}}
    body = json.dumps({"auth": {"identity": identity, "scope": scope}}).encode()
    return Request("POST", "/v3/auth/tokens", (("Content-Type", "application/json;charset=utf8"),), body)


@rule(
    "gateway-docs: the signing algorithm, only X-Sdk-Date must be signed",
    with_="a_wrong_signature_is_refused",
)
def a_right_signature_is_accepted(server: Tested) -> None:
    """X-Sdk-Date alone signed, or with Host, Content-Type or any other header; 14 minutes old or ahead; with the query."""
    for request in _all_operations(server):
        server.accepted(server.signed(request))
        server.accepted(server.signed(request, "Host"))
        headers = {"User-Agent": "a  b", "X-Anything": "ü", "X-Project-Id": server.again("engine").project}
        server.accepted(server.signed(request.with_headers(headers), "Host", *headers))
        if request.body:
            server.accepted(server.signed(request, "Content-Type"))
        server.accepted(server.signed(request, payload=sha256(request.body).hexdigest()))
        for minutes in (14, -14):
            server.accepted(server.signed(request, "Host", age=timedelta(minutes=minutes)))
    project = server.project()
    for id_ in ("a~b", "a b", "ü", "a%b", "a/b", "a+b", "a:b@c", "(a)*!'", "a=b&c"):
        unknown = server.request("ShowEngine", project_id=project, engine_id=id_)
        _has_right_credentials(server, server.signed(unknown, "Host"))
        as_it_is = quote(id_, safe=":@()*!'=&+~")
        literal = unknown.with_headers(target=unknown.target.replace(quote(id_, safe=""), as_it_is))
        _has_right_credentials(server, server.signed(literal, "Host"))
    queries = "limit=5&offset=0 status=FAILED&script_id=b&script_id=a script_name=a%20b&unknown= unknown&a=1 a=%7E~%2F/ script_name=%C3%BC%7e"
    for query in queries.split():
        listed = server.request("ListScriptRecords", project_id=project, query=query)
        server.accepted(server.signed(listed, "Host"))
    for payload in ("UNSIGNED-PAYLOAD", ""):
        server.accepted(server.signed(server.retry(server.again("engine")), "Host", payload=payload))


def _has_right_credentials(server: Tested, request: Request) -> None:
    """Send a request for what is unknown, which only its credentials can be refused for with 401."""
    if (reply := server.send(request)).status == 401:
        server.broken(reply, "a right signature is refused")


@rule("gateway-docs: the signing algorithm, 15 minutes, 0301")
def a_wrong_signature_is_refused(server: Tested) -> None:
    """Another key, body, path, query, method, host or header than signed, no X-Sdk-Date, 16 minutes off: 401, nothing runs."""
    for work in (server.failed_engine(), server.failed_record()):
        good = server.signed(server.request("ListScriptRecords", project_id=work.project), "Host")
        changed = _changed_signatures(server, server.retry(work))
        for each in (*_signed_for_another_request(server, work), *changed):
            server.refused(each, "credentials")
            server.accepted(good)  # or five in a row would lock the key


def _signed_for_another_request(server: Tested, work: Work) -> Iterator[Request]:
    name, secret, _ = server.key()
    request = server.retry(work)
    for key in (("no-such-key", secret), (name, f"{secret}x"), (name.swapcase(), secret)):
        yield server.signed(request, "Host", key=(*key, ""))
    for minutes in (16, -16, 60, 24 * 60, -24 * 60, 30 * 24 * 60):
        yield server.signed(request, "Host", age=timedelta(minutes=minutes))
    for body in (b"", b"{}"):
        yield server.signed(request, "Host", payload=sha256(body).hexdigest())
    yield server.signed(request, "Host", "X-Sdk-Content-Sha256", payload="0" * 64)
    yield server.signed(request, "Host", dated=False)
    for seen in (
        *(request.with_headers(body=body) for body in (request.body + b" ", b"")),
        *(request.with_headers(target=target) for target in ("/v2/other", request.target.upper())),
        request.with_headers(method="PATCH"),
        request.with_headers({"Host": "other.example"}),
    ):
        yield server.signed(request, "Host", seen=seen)
    yield server.signed(request.with_headers(target=f"{request.target}?a=1"), "Host", seen=request)
    name = "X-Enterprise-Project-ID"
    yield server.signed(request.with_headers({name: "0"}), name, seen=request.with_headers({name: "1"}))
    listed = server.request("ListScriptRecords", project_id=work.project, query="limit=1")
    for target in (listed.target.replace("limit=1", "limit=2"), listed.target.partition("?")[0]):
        yield server.signed(listed, "Host", seen=listed.with_headers(target=target))


def _changed_signatures(server: Tested, request: Request) -> Iterator[Request]:
    right = server.signed(request, "Host")
    signature = dict(right.headers)["Authorization"]
    yield right.with_headers(body=request.body + b" ")
    yield right.with_headers(body=b" " + request.body)
    for date in ("20200608T023900Z", None):
        yield right.with_headers({"X-Sdk-Date": date})
    for changed in (
        signature[:-1] + ("0" if signature[-1] != "0" else "1"),
        signature.replace("SDK-HMAC-SHA256", "SDK-HMAC-SM3"),
        signature.replace("Signature=", "Signature=0"),
        signature.partition(", Signature")[0],
        signature[:-64],
    ):
        yield right.with_headers({"Authorization": changed})


@rule("facts 3: AK attempt limit; gateway-docs: 0301")
def five_wrong_signatures_lock_a_key(server: Tested) -> None:
    """After five wrong signatures in a row an access key is refused for five minutes, no other is; after four it is not."""
    access_key, secret_key, _ = spare = server.key(spare=True)
    request = server.request("ListScriptRecords", project_id=server.project())
    wrong_key = access_key, f"{secret_key}x", ""
    wrong = [server.signed(each, key=wrong_key) for each in _all_operations(server)]
    if not server.resets and server.send(server.signed(request, key=spare)).status == 401:
        raise NotApplicableError(f"access key {access_key} is refused: is it locked by an earlier run?")
    for failures in (4, 5):
        server.accepted(server.signed(request, key=spare))
        for each in wrong[:failures]:
            server.refused(each, "credentials")
    for each in _all_operations(server):
        server.refused(server.signed(each, key=spare), "credentials")
    server.accepted(server.signed(request))
    if server.resets:  # or it would take five minutes
        server.wait(240)
        server.refused(server.signed(request, key=spare), "credentials")
        server.wait(61)
        server.accepted(server.signed(request, key=spare))


@rule("iam-docs: temporary access keys, X-Security-Token")
def a_temporary_key_needs_its_security_token(server: Tested) -> None:
    """A temporary key signs with its X-Security-Token, and is refused with none or another."""
    key = server.key(temporary=True)
    for request in _all_operations(server):
        for names in (("Host",), ("Host", "X-Security-Token")):
            good = server.signed(request, *names, key=key)
            for token in ("", key[2][:-1], f"{key[2]}x", key[2].swapcase()):
                server.refused(server.signed(request, "Host", key=(*key[:2], token)), "credentials")
                server.accepted(good)
            server.refused(server.signed(request, *names, key=(key[0], f"{key[1]}x", key[2])), "credentials")
            server.accepted(good)


@rule("facts 2.1: X-Project-Id is the project of the path; gateway-docs: 0310")
def the_project_of_the_header_is_that_of_the_path(server: Tested) -> None:
    """X-Project-Id of another project is refused; that of the path is accepted."""
    for request in _all_operations(server):
        names = "Host", "X-Project-Id"
        own, another = (
            request.with_headers({"X-Project-Id": id_}) for id_ in (request.target.split("/")[2], "another")
        )
        server.accepted(server.signed(own, *names))
        server.refused(server.signed(another, *names), "project")


@rule("assumption: x-check-order")
def of_several_faults_the_first_in_order_is_reported(server: Tested) -> None:
    """A request with several faults is refused for the one that comes first in x-check-order."""
    order = server.contract.check_order
    if not order:
        raise NotApplicableError("the contract has no x-check-order")
    engine, record = server.again("engine"), server.again("record")
    base, script = server.retry(engine), server.retry(record)
    limits = server.contract.limits
    faults: dict[str, Any] = {
        "uri": lambda r: r.with_headers(target=f"{r.target}?a={'a' * limits.uri}"),
        "headers": lambda r: r.with_headers({"X-A": "a" * (limits.header + 1)}),
        "unknown-api": lambda r: r.with_headers(target=f"{r.target}/x"),
        "method": lambda r: r.with_headers(method="PATCH"),
        "credentials": lambda r: r.with_headers({"X-Auth-Token": "no-such-token"}),
        "invalid": lambda r: r.with_headers(body=b'{"action": 1, "record_id": 1}'),
        "unknown": lambda r: r.with_headers(
            target=r.target.replace(engine.id, "no-such-engine"),
            body=r.body.replace(record.id.encode(), b"no-such-record"),
        ),
    }
    without_limits = {"uri", "headers"} if limits.uri > 1 << 30 else set[str]()
    known = [cause for cause in order if cause in faults.keys() - without_limits]
    for first, second in combinations(known, 2):
        for request in (base, script):
            if {first, second} == {"invalid", "unknown"} and request is script:
                continue
            cause = "unknown-engine" if first == "unknown" else first
            server.refused(faults[first](faults[second](request)), cause)
    malformed = base.with_headers({"X-Auth-Token": None}, body=b"{")
    server.refused(malformed, "credentials")
    server.refused(malformed.with_headers({"Content-Type": "text/plain"}), "credentials")


@rule("RFC 9110, 17.16.1: credentials are kept confidential", last=True)
def no_response_repeats_a_secret(server: Tested) -> None:
    """A token, a signature or a security token that was sent is in no response; nor is any secret of the credentials."""
    for request in _all_operations(server):
        signed = server.signed(request, "Host", key=("no-such-key", "no-such-secret", "sent-security-token"))
        secrets = [server.token, "sent-wrong-token", "sent-security-token"]
        secrets.append(dict(signed.headers)["Authorization"][-64:])
        wrong = request.with_headers({"X-Auth-Token": "sent-wrong-token"})
        cut_off = [each.with_headers(body=b"{") for each in (request, wrong)]
        for each in (request, wrong, signed, request.with_headers(method="PATCH"), *cut_off):
            reply = server.send(each)
            said = reply.content.decode(errors="replace") + str(reply.headers)
            if any(secret in said for secret in secrets):
                server.broken(reply, "the response repeats a secret of the request")
        right = server.signed(request, "Host")
        value = dict(right.headers)["Authorization"]
        reply = server.send(right.with_headers({"Authorization": value[:-64] + "0" * 64}))
        if value[-64:] in reply.content.decode(errors="replace"):
            server.broken(reply, "the response to a wrong signature has the right one")
        server.accepted(right)  # or five in a row would lock the key


# --- Limits -------------------------------------------------------------------------------------------------


@rule("gateway-docs: 0201, 413")
def a_body_is_read_up_to_the_limit(server: Tested) -> None:
    """A body of 12 MB is read, one byte more is a 413, with Content-Length or in chunks."""
    limit = server.contract.limits.body
    if limit > 1 << 30:
        raise NotApplicableError("the contract has no limit of bodies")
    for kind, chunks in (("engine", 0), ("record", 1 << 16)):
        request = server.retry(server.again(kind)).with_headers(chunks=chunks)
        for size in (12 * 1024, limit):
            server.accepted(request.with_headers(body=request.body.ljust(size)))
        server.refused(request.with_headers(body=request.body.ljust(limit + 1)), "body")


@rule("gateway-docs: 0201, 414 and 494")
def a_head_is_read_up_to_the_limits(server: Tested) -> None:
    """A URI, a header and all headers are read up to their limits; one byte more is a 414 or 494."""
    limits = server.contract.limits
    if limits.headers > 1 << 30:
        raise NotApplicableError("the contract has no limits of headers")
    request = server.request("ListScriptRecords", project_id=server.project(), query="unknown=")
    longest = limits.uri - len(request.target)
    server.accepted(request.with_headers(target=request.target + "a" * longest))
    server.refused(request.with_headers(target=request.target + "a" * (longest + 1)), "uri")
    encoded = "%61" * ((longest + 1) // 3 + 1)
    server.refused(request.with_headers(target=request.target + encoded), "uri")
    # What counts as a header's size is documented nowhere: its value alone, or the whole line. Both agree on these.
    server.accepted(request.with_headers({"X-A": "a" * (limits.header - len("X-A: \r\n"))}))
    server.refused(request.with_headers({"X-A": "a" * (limits.header + 1)}), "headers")
    quarter = limits.headers // 5
    room = {f"X-{number}": "a" * quarter for number in range(4)}
    server.accepted(request.with_headers(room, target=request.target + "a" * longest))
    many = {f"X-{number}": "a" * (limits.headers // 5 + 1) for number in range(5)}
    server.refused(request.with_headers(many), "headers")
    of_names = {f"X-{number}-{'a' * 4000}": "" for number in range(limits.headers // 4000 + 2)}
    server.refused(request.with_headers(of_names), "headers")
