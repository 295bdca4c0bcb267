"""What a job or record says of a retry whose outcome is unknown: the table at the head of runs.py, random histories."""

import math
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from huaweicloud_retry.runs import (
    STATES,
    Clock,
    Run,
    Status,
    Verdict,
    all_clocks,
    judged,
    of_all,
    run_of_job,
    run_of_record,
)
from huaweicloud_retry_client import Response
from huaweicloud_retry_client.models import EngineJob, ScriptRecord

Kind = Literal["job", "record"]
KINDS: tuple[Kind, ...] = ("job", "record")
WORDS = {
    "job": {"runs": "Executing", "done": "Finished", "failed": "Error", "odd": "Paused"},
    "record": {"runs": "RUNNING", "done": "SUCCESS", "failed": "FAILED", "odd": "SKIPPED"},
}
SENT = math.floor(time.time()) - 100  # when the request was sent; the state is read now
CLOCK = Clock(-0.5, 0.5)  # with the margin of 2 s, the server's clock then said SENT - 2.5 to SENT + 2.5


def run(kind: Kind, word: str, began: float | None = None, ended: float | None = None, **more: Any) -> Run:
    """A run of which each service tells: a job to the millisecond, a record cut to whole seconds."""
    times = [None if at is None else SENT + at for at in (began, ended)]
    if kind == "job":
        start, end = (None if at is None else int(at * 1000) for at in times)
        job = EngineJob(id=7, status=WORDS[kind].get(word, word), start_time=start, end_time=end)
        return run_of_job(job, **more)
    started, stopped = (
        None if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}" for at in times
    )
    status = WORDS[kind].get(word, word)
    return run_of_record(ScriptRecord(id="r7", status=status, start_time=started, end_time=stopped, **more))


def judge(
    *runs: Run, now: Clock | None = CLOCK, then: Clock | None = None, sent: float = SENT
) -> tuple[str, str]:
    found = judged(Status(state=of_all(runs), runs=runs, clock=now), sent, then)
    assert "\n" not in found.evidence
    return found.verdict, found.evidence


# What ran, from when to when (seconds after the request was sent); what a job says; what a record says, if not the same.
TABLE: dict[tuple[str, float | None, float | None], tuple[Verdict, ...]] = {
    ("runs", 0, None): ("accepted",),
    ("runs", 50, None): ("accepted",),
    ("runs", -2, None): ("accepted",),  # perhaps it began after the request, and no other one is known
    ("runs", -3, None): ("unknown", "accepted"),  # cut to whole seconds, -3 may be -2.1
    ("runs", -4, None): ("unknown",),  # it ran when the request came
    ("runs", None, None): ("accepted",),  # it waits for its turn
    ("runs", 9999, None): ("unknown",),  # in the future
    ("runs", 10, -50): ("accepted",),  # the end is that of the run before
    ("done", 0, 10): ("accepted",),
    ("done", 10, None): ("accepted",),
    ("done", -50, -10): ("unknown",),
    ("done", -50, 10): ("unknown",),
    ("done", None, 10): ("unknown",),
    ("done", 10, 5): ("unknown",),  # ended before it began
    ("done", 10, 9999): ("unknown",),
    **{("failed", began, ended): ("not run",) for began, ended in ((-50, -10), (None, -10), (-50, -4))},
    ("failed", -50, -3): ("not run", "unknown"),
    **{("failed", -50, ended): ("unknown",) for ended in (-2, 2, 50)},  # it ran when the request came
    ("failed", 0, 2): ("unknown",),
    **{("failed", began, ended): ("accepted",) for began, ended in ((0, 3), (10, 50))},
    **{("failed", began, ended): ("unknown",) for began, ended in ((-2, -2), (-50, None), (None, None))},
    **{("failed", began, ended): ("unknown",) for began, ended in ((None, 50), (10, None), (-10, -50))},
    ("failed", -50, 9999): ("unknown",),
    **{("odd", began, ended): ("unknown",) for began, ended in ((10, 50), (-50, -10), (None, None))},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("history", "verdicts"), TABLE.items(), ids=lambda value: "-".join(map(str, value)))
def test_run(
    kind: Kind, history: tuple[str, float | None, float | None], verdicts: tuple[Verdict, ...]
) -> None:
    assert judge(run(kind, *history))[0] == verdicts[KINDS.index(kind) % len(verdicts)]


STALE, FRESH, OLD = ("failed", -50, -10), ("runs", 5), ("done", -50, -10)
TASKS: dict[str, tuple[list[tuple[Any, ...]], Verdict]] = {
    "all failed before": ([STALE, STALE], "not run"),
    "failed before, and one that succeeded before": ([STALE, OLD], "not run"),
    "the failed one runs, and one succeeded before": ([FRESH, OLD], "accepted"),
    "one runs, one has failed again": ([FRESH, ("failed", 5, 20)], "accepted"),
    "one runs, one failed again at once": ([FRESH, ("failed", 1, 2)], "accepted"),
    "one runs, one failed before": ([FRESH, STALE], "unknown"),  # another has retried that record alone
    "one waits, one failed before": ([("runs",), STALE], "unknown"),
    "one failed before, one about when the request was sent": ([STALE, ("failed", -50, -1)], "unknown"),
    "one failed before, of one the times are missing": ([STALE, ("failed",)], "unknown"),
    "one runs, one has an unknown status": ([FRESH, ("odd", -50, -10)], "unknown"),
    "one failed before, one has an unknown status": ([STALE, ("odd", -50, -10)], "unknown"),
    "none failed, none began since": ([OLD, OLD], "unknown"),
    "there are no records": ([], "unknown"),
}


@pytest.mark.parametrize(("histories", "verdict"), TASKS.values(), ids=TASKS)
def test_records_of_a_task(histories: list[tuple[Any, ...]], verdict: Verdict) -> None:
    for order in histories, histories[::-1]:
        assert judge(*(run("record", *history) for history in order))[0] == verdict


def test_an_engine_that_cannot_be_retried_has_not_failed_as_before() -> None:
    assert judge(run("job", *STALE, can_retry=False)) == (
        "unknown",
        f"job 7 is Error, ended {stamp(-10)}, 10.0 s before the request was sent; the engine cannot be retried now",
    )
    assert judge(run("job", "failed", 10, 50, can_retry=False))[0] == "accepted"


def stamp(at: float) -> str:
    return f"{datetime.fromtimestamp(SENT + at, UTC):%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.parametrize(
    ("history", "evidence"),
    [
        (("runs", 50), "is Executing, began {50}, 50.0 s after the request was sent"),
        (("runs", 1), "is Executing, began {1}, when the request was sent (to within 2.5 s)"),
        (("runs",), "is Executing"),
        (STALE, "is Error, ended {-10}, 10.0 s before the request was sent"),
        (
            OLD,
            "is Finished, ended {-10}, 10.0 s before the request was sent; nothing began after the request, and nothing failed",
        ),
        (("odd", -50, -10), "before the request was sent; nothing documents the meaning of this status"),
        (
            ("failed",),
            "is Error; its times are missing, impossible, or too near to when the request was sent",
        ),
    ],
    ids=str,
)
def test_the_evidence_is_one_line(history: tuple[Any, ...], evidence: str) -> None:
    for at in (50, 1, -10):
        evidence = evidence.replace(f"{{{at}}}", stamp(at))
    assert evidence in judge(run("job", *history))[1]


def test_neither_a_status_word_nor_an_id_can_break_the_line() -> None:
    record = run_of_record(ScriptRecord(id="r\n7", status="odd\rnot run"))
    assert judge(record) == (
        "unknown",
        "record r 7 is odd not run; nothing documents the meaning of this status",
    )
    assert str(Status(state="unknown", runs=(record,))) == "record r 7 is odd not run"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("history", [FRESH, STALE, OLD, ("failed", 5, 20)], ids=str)
def test_without_a_date_of_the_server_no_times_are_compared(kind: Kind, history: tuple[Any, ...]) -> None:
    verdict, evidence = judge(run(kind, *history), now=None)
    assert (verdict, "no Date" in evidence) == ("unknown", True)
    assert judge(run(kind, "runs"), now=None)[0] == "accepted"


def test_what_was_known_of_the_clock_at_the_time_of_sending_counts_too() -> None:
    ahead, behind = Clock(599.5, 600.5), Clock(-600.5, -599.5)  # one of the clocks was set since
    cases: list[tuple[tuple[Any, ...], Clock, str]] = [
        (FRESH, ahead, "unknown"),  # perhaps it began ten minutes before the request
        (FRESH, behind, "accepted"),
        (STALE, ahead, "not run"),
        (STALE, behind, "unknown"),
        (("failed", -5000, -1000), behind, "not run"),
    ]
    for history, then, verdict in cases:
        assert judge(run("job", *history), then=then)[0] == verdict


def test_a_request_that_is_still_to_be_sent_by_this_clock_says_that_the_clock_was_set() -> None:
    sent = time.time() + 300
    verdict, evidence = judge(run("job", *STALE), sent=sent)
    assert (verdict, "this machine's clock was set back" in evidence) == ("unknown", True)
    assert judge(run("job", *STALE), sent=sent, then=Clock(-300.5, -299.5))[0] == "not run"
    assert judge(run("job", *STALE), sent=math.inf)[0] == "unknown"
    assert judge(run("job", *STALE), sent=math.nan)[0] == "unknown"


DATE = "Sat, 28 Nov 2026 12:00:00 GMT"
AT = 1795867200.0


@pytest.mark.parametrize(
    ("date", "clock"),
    {
        DATE: Clock(-0.25, 1.5),
        "Sat, 28 Nov 2026 13:00:00 +0100": Clock(-0.25, 1.5),
        "Sat, 28 Nov 2026 12:00:00 -0000": None,  # its zone is not said
        "Sat, 28 Nov 2026 12:00:00": None,
        "28 Nov": None,
        "": None,
        "Sat, 99 Nov 2026 12:00:00 GMT": None,
        "Sat, 28 Nov 99999999999 12:00:00 GMT": None,
        "\u0663": None,
    }.items(),
)
def test_the_date_header_says_what_the_servers_clock_is(date: str, clock: Clock | None) -> None:
    headers = httpx.Headers([(b"Date", date.encode())])
    response = Response[None](status_code=200, headers=headers, content=b"")
    assert Clock.of(response, AT - 0.5, AT + 0.25) == clock


def test_all_pages_count_for_the_clock_and_one_without_a_date_spoils_it() -> None:
    assert all_clocks([Clock(-1, 1), Clock(0, 2)]) == Clock(-1, 2)
    assert all_clocks([Clock(-1, 1), None]) is None
    assert all_clocks([]) is None


MS = [None, 0, -1, -(10**18), 10**18, 10**400, 1, 253402300799000]
TEXTS = [None, "", "now", "0", "-1", str(SENT * 1000), "1e18", "\0", "2026-11-28", "2026-11-28T12:00:00"]
TEXTS += [
    "2026-11-28 12:00:00",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "9999-12-31T23:59:59Z",
]
TEXTS += [
    "1969-12-31T23:59:59Z",
    "2026-02-30T00:00:00Z",
    "2026-11-28T12:00:00Z" * 1000,
    "\u0662026-11-28T12:00:00Z",
]


@pytest.mark.parametrize("word", ["runs", "done", "failed", "odd"])
def test_no_time_breaks_it(word: str) -> None:
    def all_of(kind: Kind, times: Iterable[Any]) -> Iterable[Run]:
        for start in times:
            for end in times:
                if kind == "job":
                    job = EngineJob(id=7, status=WORDS[kind][word], start_time=start, end_time=end)
                    yield run_of_job(job)
                else:
                    record = ScriptRecord(id="r7", status=WORDS[kind][word], start_time=start, end_time=end)
                    yield run_of_record(record)

    for each in (*all_of("job", MS), *all_of("record", TEXTS)):
        ended_long_ago = each.ended_at is not None and each.ended_at < SENT - 1000
        possible = {"runs": {"accepted"}, "failed": {"not run"} if ended_long_ago else set[str]()}
        assert judge(each)[0] in possible.get(word, set()) | {"unknown"}


@pytest.mark.parametrize("start", [-1, 10**18, "now", "2026-11-28 12:00:00", "9999-12-31T23:59:59Z"])
def test_what_runs_since_a_time_that_cannot_be_read_does_not_wait_for_its_turn(start: Any) -> None:
    job = EngineJob(id=7, status="Executing", start_time=start)
    record = ScriptRecord(id="r7", status="RUNNING", start_time=start)
    runs = run_of_job(job) if isinstance(start, int) else run_of_record(record)
    assert judge(runs)[0] == "unknown"
    assert judge(runs, now=None)[0] == "unknown"


offsets = st.floats(-600, 600)
seconds = st.sampled_from([0.0, 0.1, 1.0, 3.0]) | st.floats(0, 300)


@settings(max_examples=100, deadline=None)  # no example is slow, but the machine may be
@given(
    kind=st.sampled_from(KINDS),
    server=offsets,
    skew=st.sampled_from([-2.0, 2.0]) | st.floats(-2, 2),
    ran_before=seconds,
    failed_before=seconds,
    acted_after=st.none() | st.sampled_from([0.0, 0.1]) | st.floats(0, 30),
    runs_for=seconds,
    ends=st.sampled_from(["done", "failed"]),
    read_after=seconds,
    took=st.floats(0, 5),
    responded=st.floats(0, 1),
    step=st.just(0.0) | offsets,
    is_local=st.booleans(),
)
def test_a_verdict_is_never_wrong_and_there_is_one_where_the_events_are_far_enough_apart(
    kind: Kind,
    server: float,
    skew: float,
    ran_before: float,
    failed_before: float,
    acted_after: float | None,
    runs_for: float,
    ends: str,
    read_after: float,
    took: float,
    responded: float,
    step: float,
    is_local: bool,
) -> None:
    """The server's clock is `server` ahead, its service's `skew` more; one of the clocks may be set after sending."""
    local_step, server_step = (step, 0.0) if is_local else (0.0, step)
    now = time.time()  # by this machine's clock, when the read's response has come
    came = now - local_step  # what it had said without the step; all true times are in terms of it
    asked = came - took
    at = asked + responded * took
    sent = at - (acted_after or 0.0) - read_after
    acted = acted_after is not None
    said = math.floor(sent + server)
    first = Clock(said - sent, said + 1 - sent)  # known when it was sent
    date = math.floor(at + server + server_step)
    clock = Clock(date - now, date + 1 - (asked + local_step))

    began, ended = sent - failed_before - ran_before, sent - failed_before
    word, service = "failed", server + skew
    if acted_after is not None:
        began = sent + acted_after
        word = ends if began + runs_for <= at else "runs"
        ended, service = began + runs_for, server + skew + server_step
    times = began + service - SENT, None if word == "runs" else ended + service - SENT
    is_set = bool(local_step or server_step)

    verdict, evidence = judge(run(kind, word, *times), now=clock, then=first if is_set else None, sent=sent)

    assert verdict != ("not run" if acted else "accepted"), evidence
    uncertainty = clock.most - clock.least + 2 * 2.0 + 1
    apart = ended - sent if acted else sent - ended
    if not is_set and (word != "failed" or apart > uncertainty):
        assert verdict == ("accepted" if acted else "not run"), evidence


def test_the_words_of_both_services_are_known() -> None:
    known = {"running": "PreInit Init Executing WAITING INIT RUNNING", "succeeded": "Finished SUCCESS FINISH"}
    words = {word: state for state, text in known.items() for word in text.split()}
    assert {**words, **dict.fromkeys(["Error", "Timeout", "FAILED"], "failed")} == STATES
    for word in "error", "FINISHED", "success", "", "Failed ":
        assert Run(name="x", word=word).state == "unknown"


def test_a_record_tells_why_it_failed_and_a_job_what_its_task_logs() -> None:
    failed = {"id": "r", "status": "FAILED", "result_code": "28", "reason": "No\ndisk"}
    record = ScriptRecord.from_dict(failed)
    assert run_of_record(record).reason == "28: No disk"
    task = {"taskName": "modify", "status": "Error", "log": "No node."}
    step = {"taskName": "all", "status": "Error", "tasks": [{"status": "Finished", "log": "Done."}, task]}
    job = EngineJob.from_dict({"id": 7, "status": "Error", "tasks": [{"status": "Finished"}, step]})
    assert run_of_job(job).reason == "modify: No node."
    assert run_of_job(EngineJob.from_dict({"id": 7, "status": "Error", "tasks": None})).reason is None


def test_of_several_states_the_one_that_is_not_settled_counts() -> None:
    assert [of_all([run("record", word) for word in words.split()]) for words in (
        "done failed odd runs", "done failed odd", "done failed", "done done", ""
    )] == ["running", "unknown", "failed", "succeeded", "unknown"]  # fmt: skip


def test_a_status_says_how_far_the_work_is_in_one_line() -> None:
    def text(*runs: Run) -> str:
        return str(Status(state=of_all(runs), runs=runs))

    assert text(run("job", "failed")) == "job 7 is Error"
    assert (
        text(*(run("record", word) for word in ("done", "runs", "done"))) == "records: 2 SUCCESS, 1 RUNNING"
    )
    assert text() == "records: none"
