"""What `engine`, `script` and `bulk` do: take in the items, send them, show what comes of it, and end as asked to."""

import argparse
import asyncio
import os
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import aclosing, closing, contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Final

import httpx

from huaweicloud_retry import ConfigurationError, TokenAuth, connect
from huaweicloud_retry.bulk import Bulk, Counts, Item, JournalError, Outcome, Plan
from huaweicloud_retry.bulk.inputs import InputError
from huaweicloud_retry.bulk.journal import Journal
from huaweicloud_retry.credentials import PROJECT_VARIABLES, find_project_id
from huaweicloud_retry.endpoints import find_region
from huaweicloud_retry.runtime.redaction import one_line

from . import dry_run
from .advice import advise, in_options
from .common import CommandError, OutputError, printing
from .input import Interrupted, items_of, opened
from .output import EachInTable, JSONArray, JSONLines, ReasonsInTable, Screen, Writer, chosen
from .progress import Bar, Lines, Progress, Speed, bar_fits

if TYPE_CHECKING:
    from huaweicloud_retry.bulk.items import Service

_ACCEPTED, _REFUSED, _USAGE, _UNKNOWN, _INTERRUPTED = 0, 1, 2, 3, 130
_CONNECT_TIMEOUT: Final = 10.0  # seconds, at most; the client's own
_WHAT: Final = {"refused": "refused, nothing was run", "unknown": "unknown, it may have been run"}


def send_few(options: argparse.Namespace, fields: list[dict[str, str | None]]) -> int:
    """Send a few retries without a journal; returns the exit code.

    Raises:
        CommandError: usage or configuration; nothing was sent.
    """
    with _explained():
        settings = _settings(options)
        project_id = options.project_id or find_project_id(os.environ)
        if project_id is None:
            raise CommandError(f"no project: give --project-id, or set {' or '.join(PROJECT_VARIABLES)}")
        shared = {"project_id": project_id, "region": find_region(options.region, os.environ)}
        try:
            items = [Item.of({**shared, **each}) for each in fields]
        except ValueError as error:
            raise CommandError(str(error)) from error
        if options.dry_run:
            _show_requests(items, settings, options.output)
            return _ACCEPTED
        writer = chosen(options.output, on_terminal=EachInTable, else_=JSONArray)
        run = _Run(options, items, settings, writer=writer)
        return asyncio.run(run.go())


def send_many(options: argparse.Namespace, journal: Path | None) -> int:
    """Send what a file has; returns the exit code, which is that of the whole journal.

    Raises:
        CommandError: usage or configuration, an input or a journal that will not do; or the journal could not be written
            any more, and the exit code is that of what came before.
    """
    with _explained():
        settings = _settings(options)
        defaults = {
            "project_id": options.project_id or find_project_id(os.environ),
            "region": find_region(options.region, os.environ),
            "enterprise_project_id": options.enterprise_project_id,
        }
        for each in _signals():  # until the run has begun, as Ctrl-C
            signal.signal(each, signal.default_int_handler)
        stop = Event()
        with opened(options.file) as stream:
            given = {name: value for name, value in defaults.items() if value is not None}
            items = items_of(options, stream, given, stop)
            if options.dry_run:
                _show_plan(options, items, settings, journal)
                return _ACCEPTED
            writer = chosen(options.output, on_terminal=ReasonsInTable, else_=JSONLines)
            limits = {
                name: getattr(options, name) for name in ("concurrency", "grace", "retry_refused", "resend_unknown")
            }
            limits["rate"] = options.rate or None
            run = _Run(options, items, settings, writer=writer, stop=stop, journal=journal, **limits)
            return asyncio.run(run.go())


def _signals() -> list[signal.Signals]:
    """Return the signals that end a run in order; not that of a terminal that closes, where nohup has it ignored."""
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none
    is_ignored = hangup is None or signal.getsignal(hangup) == signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if hangup is None or is_ignored else [hangup])]


def _handle(loop: asyncio.AbstractEventLoop, number: signal.Signals, handler: Callable[[], None]) -> None:
    """Call the handler in the loop when the signal comes."""

    def hand_over(*_: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: all is done
            loop.call_soon_threadsafe(handler)

    try:
        loop.add_signal_handler(number, handler)
    except NotImplementedError:  # by the loops of Windows
        signal.signal(number, hand_over)


class _Run:
    """One run of `Bulk`, with its signals, messages and output.

    Args:
        options: of the command.
        items: to be sent.
        settings: of `connect`.
        writer: of the outcomes.
        stop: is set at the first signal.
        journal: None: it is about a few, so there is no progress and no summary.
        limits: of `Bulk`.
    """

    def __init__(  # noqa: PLR0913 - what there is to give
        self,
        options: argparse.Namespace,
        items: Iterable[Item],
        settings: Mapping[str, Any],
        *,
        writer: Writer,
        stop: Event | None = None,
        journal: Path | None = None,
        **limits: Any,
    ) -> None:
        self._items = items
        self._settings = settings
        self._writer = writer
        self._journal = journal
        self._limits = limits
        self._bulk = Bulk(self._taken_in(), journal=journal, **settings, **limits)
        self._screen = Screen(options.prog)
        self._progress: Progress = Lines(self._screen.say_here)
        self._speed = Speed()
        self._taken = 0
        self._signals = 0
        self._stop = stop or Event()
        self._output_failure: OutputError | None = None
        self._told: set[str] = set()
        self._came: set[Item] = set()  # of a few
        self._is_plan_told = False
        if options.verbose:
            self._bulk.on_attempt = self._tell_attempt

    async def go(self) -> int:
        """Send all; returns the exit code.

        Raises:
            CommandError: the journal will not do, or could not be written any more.
            ConfigurationError, InputError: as of `Bulk` and of the items.
            OutputError: nothing can be printed any more; what was under way is written down.
        """
        loop = asyncio.get_running_loop()
        for each in _signals():
            _handle(loop, each, self._interrupt)
        watch = asyncio.create_task(self._watch()) if self._journal else None
        try:
            await self._send()
        finally:
            if watch:
                watch.cancel()
                with suppress(asyncio.CancelledError):
                    await watch
            self._screen.do(self._progress.end)
            if self._bulk.counts.total and self._output_failure is None:
                self._screen.do(self._writer.end)
            self._sum_up()
            with self._minding_output():
                if not await self._screen.close():
                    os._exit(_INTERRUPTED)  # the thread that prints would be waited for; the journal is closed already
        if self._output_failure:
            raise self._output_failure
        return self._exit_code()

    async def _send(self) -> None:
        try:
            async with aclosing(aiter(self._bulk)) as outcomes:
                async for outcome in outcomes:
                    self._tell_plan()
                    if self._journal is None:
                        self._came.add(outcome.item)
                    if self._output_failure is None:
                        self._screen.do(self._writer.write, outcome)
                        self._tell_reason(outcome)
                    with self._minding_output():
                        await self._screen.caught_up()
            self._tell_plan()
        except Interrupted:
            pass
        except JournalError as error:
            for outcome in error.unwritten:
                self._screen.say(f"not in the journal: {outcome.verdict}: {outcome.item.name}: {outcome.message}")
            is_unknown = error.unwritten or self._bulk.counts.sending or self._bulk.counts.unknown
            raise CommandError(str(error), _UNKNOWN if is_unknown else _USAGE) from error

    @contextmanager
    def _minding_output(self) -> Generator[None, None, None]:
        """Stop, in order, when nothing can be printed any more."""
        try:
            yield
        except OutputError as error:
            self._output_failure = error
            self._bulk.stop()

    def _taken_in(self) -> Iterator[Item]:
        wanted: set[tuple[Service, str | None]] = set()
        for item in self._items:
            self._taken += 1
            wanted.add((item.service, item.region))
            yield item
        # Before the plan is in the journal, which would then take no input for another region.
        for service, region in sorted(wanted, key=str):
            connect(service, region=region, **self._settings)  # its service, host, credentials, CAs and proxies

    def _interrupt(self) -> None:
        self._signals += 1
        self._stop.set()
        if self._signals == 1:
            grace = self._limits.get("grace")
            wait = "waiting for those under way" + ("" if grace is None else f", {grace:g} s at most")
            self._screen.say_now(f"interrupted: nothing more is sent; {wait}. Ctrl-C again ends at once")
            self._bulk.stop()
        elif self._signals == 2:  # noqa: PLR2004 - the second Ctrl-C
            self._bulk.abort()
            self._screen.hurry()
        else:
            os._exit(_INTERRUPTED)  # whoever reads standard output may hold it up; the journal is true at any moment

    # --- What is said on standard error ---------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._progress.every)
            self._tell_plan()
            if self._screen.is_behind:
                continue
            counts = self._bulk.counts
            if not counts.total:
                self._screen.do(self._progress.show, f"reading the input: {self._taken:,} retries so far", 0, None)
                continue
            rate = self._limits["rate"]
            text = self._speed.text(counts, now=time.monotonic(), allowed=self._bulk.rate, limit=rate)
            done = counts.total - counts.planned - counts.sending
            self._screen.do(self._progress.show, text, done, counts.total)

    def _tell_plan(self) -> None:
        plan, counts = self._bulk.plan, self._bulk.counts
        if self._is_plan_told or plan is None or not counts.total or self._journal is None:
            return
        self._is_plan_told = True
        self._speed.begin(counts, time.monotonic())
        self._screen.say(f"{_plan_in_words(plan)}; journal {self._journal}")
        if plan.resumed:
            self._screen.say(f"goes on where an earlier run ended: {_counts_in_words(plan.before)}")
        if bar_fits(stdout_is_written=isinstance(self._writer, JSONLines | JSONArray)):
            self._progress = bar = Bar()
            self._screen.say_line = bar.say_line

    def _tell_attempt(self, item: Item, attempt: int, why: str, seconds: float) -> None:
        self._screen.say(f"{one_line(item.name)}: attempt {attempt}: {why}; again in {seconds:.1f} s")

    def _tell_reason(self, outcome: Outcome) -> None:
        """Tell what to do about an outcome, once for all with the same reason."""
        if outcome.verdict == "accepted":
            return
        advice = advise(outcome)
        if advice not in self._told:
            self._told.add(advice)
            self._screen.say(
                f"{one_line(outcome.item.name)}: {_WHAT[outcome.verdict]}: {outcome.message}\n  -> {advice}"
            )

    def _sum_up(self) -> None:
        counts = self._bulk.counts
        if self._bulk.halted and counts.planned:
            self._screen.say(f"stopped: {self._bulk.halted}")
        if self._journal is None:
            if counts.planned:
                unsent = [one_line(item.name) for item in dict.fromkeys(self._items) if item not in self._came]
                self._screen.say(f"{counts.planned} not sent: {', '.join(unsent)}")
            return
        if not counts.total:
            return
        self._screen.say(f"{counts.total:,} retries: {_counts_in_words(counts)}")
        if counts.planned:
            self._screen.say("the same command goes on with what was not sent")
        if counts.refused or counts.unknown:
            self._screen.say(f"hwc-retry report {self._journal} tells which were not accepted, and why")
        if counts.refused:
            self._screen.say("--retry-refused sends again what was refused")
        if counts.unknown:
            self._screen.say(
                "--resend-unknown sends again what is unknown, which may run it twice: look at those jobs and tasks first"
            )

    def _exit_code(self) -> int:
        counts = self._bulk.counts
        if self._signals:
            return _INTERRUPTED
        if counts.unknown or counts.sending:
            return _UNKNOWN
        return _REFUSED if counts.refused or counts.planned else _ACCEPTED


def _plan_in_words(plan: Plan) -> str:
    duplicates = f"; {plan.duplicates:,} stood there once more, and are sent once" if plan.duplicates else ""
    return f"{plan.items:,} retries{duplicates}"


def _counts_in_words(counts: Counts) -> str:
    unknown = counts.unknown + counts.sending
    text = f"accepted {counts.accepted:,}, refused {counts.refused:,}, unknown {unknown:,}"
    return f"{text}, not sent {counts.planned:,}" if counts.planned else text


# --- Dry runs -----------------------------------------------------------------------------------------------------------


def _show_requests(items: Iterable[Item], settings: Mapping[str, Any], output: str | None) -> None:
    requests = asyncio.run(dry_run.requests_of(items, os.environ, settings))
    if output == "table" or (output is None and sys.stdout.isatty()):
        shown = "\n".join(dry_run.as_text(request) for request in requests)
    else:
        shown = dry_run.as_json(requests, output or "json") + "\n"
    with printing():
        sys.stdout.write(shown)


def _show_plan(
    options: argparse.Namespace, items: Iterable[Item], settings: Mapping[str, Any], journal: Path | None
) -> None:
    lines: Counter[str] = Counter()
    first: list[Item] = []

    def noted() -> Iterator[Item]:
        for item in items:
            first.extend([] if first else [item])
            lines[f"{item.operation} in {item.region or 'no region'}"] += 1
            yield item

    is_known = journal is not None and _has_plan(journal)
    with Journal(journal if is_known else None) as book:
        plan, counts = book.plan(noted()), book.counts()
    sent = counts.planned + options.retry_refused * counts.refused
    sent += options.resend_unknown * (counts.unknown + counts.sending)
    said = [_plan_in_words(plan), *(f"{what}: {count:,}" for what, count in sorted(lines.items()))]
    said += [f"journal {journal}: {_counts_in_words(counts)}"] if is_known else []
    said += [f"{sent:,} would be sent; the first request of the input:"]
    with printing():
        sys.stderr.writelines(f"{options.prog}: {line}\n" for line in said)
    _show_requests(first, settings, options.output)


def _has_plan(journal: Path) -> bool:
    """Say whether a journal has items, which a dry run is not to put there; True also if `Journal` is to say what is wrong."""
    if not os.path.exists(journal):  # noqa: PTH110 - Path's raises where a name is too long
        return False
    try:
        with closing(sqlite3.connect(f"{journal.resolve().as_uri()}?mode=ro", uri=True, timeout=0)) as db:
            return bool(db.execute("SELECT 1 FROM sqlite_master").fetchone())
    except sqlite3.Error:
        return True


# --- Settings -----------------------------------------------------------------------------------------------------------


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    timeout = options.timeout
    return {
        "endpoint": options.endpoint,
        "credentials": None if options.token_file is None else _token(options.token_file),
        "timeout": None if timeout is None else httpx.Timeout(timeout, connect=min(timeout, _CONNECT_TIMEOUT)),
    }


def _token(file: str) -> TokenAuth:
    name = "standard input" if file == "-" else file
    if file == "-" and sys.stdin.isatty():
        raise CommandError("--token-file -: what is typed here would show; give it through a pipe")
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return TokenAuth(raw.decode().strip())
    except OSError as error:
        raise CommandError(f"--token-file: {name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise CommandError(f"--token-file: {name} has no token: it is not text") from None
    except ValueError as error:
        raise CommandError(f"--token-file: {name}: {error}") from None


@contextmanager
def _explained() -> Generator[None, None, None]:
    """Say of the library's errors what they mean on a command line."""
    try:
        yield
    except ConfigurationError as error:
        raise CommandError(in_options(str(error))) from error
    except (InputError, JournalError) as error:
        raise CommandError(str(error)) from error
