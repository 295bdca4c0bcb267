"""What `engine`, `script`, `bulk` and `resolve` have in common: settings, items, sending."""

import argparse
import asyncio
import os
import sys
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any, Final

import httpx

from huaweicloud_retry import ConfigurationError, TokenAuth, connect
from huaweicloud_retry.bulk import Bulk, Followup, Item, JournalError
from huaweicloud_retry.bulk.inputs import InputError
from huaweicloud_retry.bulk.items import Service
from huaweicloud_retry.credentials import PROJECT_VARIABLES, find_credentials, find_project_id
from huaweicloud_retry.follow import look
from huaweicloud_retry.runs import Run as ScriptRun
from huaweicloud_retry.runtime.redaction import one_line
from huaweicloud_retry_client import APIError, Client

from . import dry_run, signals
from .advice import advise_read, in_options
from .common import WAIT_TIMEOUT
from .exits import CommandError, Exit, printing
from .following import OpenWriter, follow
from .input import items_of, opened
from .messages import Messages
from .output import (
    EachInTable,
    EndsInTable,
    FoundInTable,
    JSONArray,
    JSONLines,
    ReasonsInTable,
    Writer,
    chosen,
)
from .progress import bar_fits
from .run import Run
from .screen import Screen
from .waiting import Collector, wait_for_work

_CONNECT_TIMEOUT: Final = 10.0  # seconds, the client's default
_LIMITS: Final = ("concurrency", "grace", "retry_refused", "resend_unknown")


def send_few(options: argparse.Namespace, fields: list[dict[str, str | None]]) -> int:
    """Send a few retries without a journal; returns the exit code.

    Raises:
        CommandError: Usage or configuration; nothing was sent.
    """
    with as_command_errors():
        settings = settings_of(options)
        return _send_items(options, items_for(options, fields), settings)


def send_failed_of(options: argparse.Namespace) -> int:
    """Send a retry for each failed record of a task; returns the exit code.

    Raises:
        CommandError: As in `send_few`; or the records cannot be read.
    """
    with as_command_errors():
        settings = settings_of(options)
        (task,) = items_for(options, [{"operation": "RetryScriptExecution", "task_id": options.failed_of}])
        with reader(settings, "workspace") as client:
            try:
                runs = look(client, task).runs
            except APIError as error:
                text = f"task {one_line(options.failed_of)} cannot be read: {error}"
                advice = advise_read("ListScriptRecords", error)
                raise CommandError(f"{text}\n  -> {advice}", Exit.REFUSED) from error
        if not runs:
            raise CommandError(
                f"task {one_line(options.failed_of)} has no records: check the ID, --project-id and --region",
                Exit.REFUSED,
            )
        _say_records(options, runs)
        ids = [run.name.removeprefix("record ") for run in runs if run.state == "failed"]
        items = items_for(options, [{"operation": "RetryScriptExecution", "record_id": id_} for id_ in ids])
        return _send_items(options, items, settings)


def _say_records(options: argparse.Namespace, runs: Sequence[ScriptRun]) -> None:
    counts = Counter(run.word for run in runs)
    failed = [run for run in runs if run.state == "failed"]
    listed = ", ".join(f"{count:,} {one_line(word)}" for word, count in counts.items())
    lines = [f"task {one_line(options.failed_of)}: {listed}"]
    if not failed:
        lines[0] += "; none has failed: nothing to retry"
    for run in failed:
        reason = f": {run.reason}" if run.reason else ""
        lines.append(f"{one_line(run.name)} is {one_line(run.word)}{reason}")
    unknown = [run for run in runs if run.state == "unknown"]
    what = "an undocumented status: not retried"
    lines += [f"{one_line(run.name)} is {one_line(run.word)}, {what}" for run in unknown]
    if not options.quiet:
        with printing():
            sys.stderr.writelines(f"{options.prog}: {line}\n" for line in lines)


def _send_items(options: argparse.Namespace, items: list[Item], settings: dict[str, Any]) -> int:
    if options.wait_timeout is not None and not options.wait:
        raise CommandError("--wait-timeout needs --wait")
    if options.dry_run and items:
        dry_run.show_requests(items, settings, options.output)
        return Exit.OK
    table = EndsInTable if options.wait else EachInTable
    writer = chosen(options.output, on_terminal=table, else_=JSONArray)
    if not items:
        with printing():
            writer.end()
        return Exit.OK
    send = _send_and_wait if options.wait else _send
    return asyncio.run(send(options, items, settings, writer))


async def _send(
    options: argparse.Namespace, items: list[Item], settings: dict[str, Any], writer: Writer
) -> Exit:
    bulk, screen = Bulk(items, **settings), Screen(options.prog)
    messages = Messages(screen, is_quiet=options.quiet)
    bulk.on_attempt = messages.say_attempt if options.verbose else None
    return await Run(bulk, screen, messages, writer=writer, stop=Event()).go(items)


async def _send_and_wait(
    options: argparse.Namespace, items: list[Item], settings: dict[str, Any], writer: Writer
) -> Exit:
    collector = Collector()
    async with reader(settings, items[0].service) as client:
        try:
            code = await _send(options, items, settings, collector)
        except Exception:
            if collector.outcomes:  # report what was sent before the error
                with printing():
                    for each in collector.outcomes:
                        writer.write(each)
                    writer.end()
            raise
        is_interrupted = code is Exit.INTERRUPTED
        ended = await wait_for_work(
            collector.outcomes, client, options, writer, is_interrupted=is_interrupted
        )
    all_sent = len(collector.outcomes) == len({item.target for item in items})
    return ended if all_sent or ended in {Exit.INTERRUPTED, Exit.UNKNOWN} else Exit.REFUSED


def items_for(options: argparse.Namespace, fields: list[dict[str, str | None]]) -> list[Item]:
    """Return the items of the project of the options or the environment.

    Raises:
        CommandError: There is no project, or a field is invalid.
    """
    project_id: str | None = options.project_id or find_project_id(os.environ, profile=options.profile)
    if project_id is None:
        raise CommandError(f"no project: give --project-id, or set {' or '.join(PROJECT_VARIABLES)}")
    try:
        return [Item.of({"project_id": project_id, **each}) for each in fields]
    except ValueError as error:
        raise CommandError(str(error)) from error


def reader(settings: dict[str, Any], service: Service) -> Client:
    """Return a client for reads. Its credentials are kept in the settings, so that a token is fetched once.

    Raises:
        ConfigurationError: As in `connect`.
    """
    client = connect(service, **settings)
    if settings["credentials"] is None:
        settings["credentials"] = find_credentials(settings["region"], os.environ)
        client = connect(service, **settings)
    return client


def send_many(options: argparse.Namespace, journal: Path | None) -> int:
    """Send the items of a file; returns the exit code, which covers the input, earlier runs included.

    Raises:
        CommandError: Usage or configuration, an invalid input, or a journal that cannot be used; or the
            journal could no longer be written. The exit code then covers what was sent before.
    """
    with as_command_errors():
        settings = settings_of(options)
        given = {
            "project_id": options.project_id or find_project_id(os.environ, profile=options.profile),
            "enterprise_project_id": options.enterprise_project_id,
        }
        defaults = {name: value for name, value in given.items() if value is not None}
        signals.interrupt_on_each()
        stop = Event()
        with opened(options.file) as stream:
            items = items_of(options, stream, defaults, stop)
            if options.dry_run:
                dry_run.show_plan(options, items, settings, journal)
                return Exit.OK
            writer = chosen(options.output, on_terminal=ReasonsInTable, else_=JSONLines)
            is_table = isinstance(writer, ReasonsInTable)
            has_bar = not options.quiet and bar_fits(stdout_is_written=not is_table)
            wants_follow = (options.resolve or options.wait) and journal is not None
            stays_open = wants_follow and not is_table
            follows = False
            bulk, run = _bulk_run(
                options,
                items,
                settings,
                journal,
                writer=OpenWriter(writer) if stays_open else writer,
                stop=stop,
                has_bar=has_bar,
            )
            try:
                code = asyncio.run(run.go())
                is_refused = (bulk.halted or "").startswith("authentication failed")
                follows = wants_follow and not is_refused and code != Exit.INTERRUPTED
            finally:
                if stays_open and not follows:
                    writer.end()
        if journal is None or not follows:
            return code
        writer = FoundInTable() if is_table else writer
        return follow_journal(options, journal, settings, writer, has_bar=has_bar)


def _bulk_run(  # noqa: PLR0913 - its parts
    options: argparse.Namespace,
    items: Iterable[Item],
    settings: dict[str, Any],
    journal: Path | None,
    *,
    writer: Writer,
    stop: Event,
    has_bar: bool,
) -> tuple[Bulk, Run]:
    screen, rate = Screen(options.prog), options.rate or None
    messages = Messages(screen, journal, is_quiet=options.quiet, has_bar=has_bar, rate=rate)
    name = None if options.file == "-" else options.file
    limits = {each: getattr(options, each) for each in _LIMITS}
    counted = _counted(items, messages)
    bulk = Bulk(counted, journal=journal, input_name=name, rate=rate, **limits, **settings)
    bulk.on_attempt = messages.say_attempt if options.verbose else None
    run = Run(bulk, screen, messages, writer=writer, stop=stop, journal=journal, grace=options.grace)
    return bulk, run


def resolve_journal(options: argparse.Namespace) -> int:
    """Resolve the unknown items of a journal; returns the exit code.

    Raises:
        CommandError: Usage or configuration, or a journal that cannot be used.
    """
    with as_command_errors():
        settings = settings_of(options)
        writer = chosen(options.output, on_terminal=FoundInTable, else_=JSONLines)
        has_bar = not options.quiet and bar_fits(stdout_is_written=not isinstance(writer, FoundInTable))
        return follow_journal(options, options.journal, settings, writer, has_bar=has_bar)


def follow_journal(
    options: argparse.Namespace, journal: Path, settings: dict[str, Any], writer: Writer, *, has_bar: bool
) -> int:
    """Follow the items of a journal, for --resolve and --wait; returns the exit code.

    Raises:
        CommandError: The journal cannot be used, or can no longer be written.
    """
    followup = Followup(
        journal,
        resolve=options.resolve,
        wait=options.wait,
        wait_timeout=WAIT_TIMEOUT if options.wait_timeout is None else options.wait_timeout,
        concurrency=options.concurrency,
        rate=options.rate or None,
        **settings,
    )
    following = follow(
        followup, writer, options.prog, is_quiet=options.quiet, has_bar=has_bar, is_waiting=options.wait
    )
    try:
        return asyncio.run(following)
    except JournalError as error:
        has_begun = followup.counts.total > 0
        raise CommandError(in_options(str(error)), Exit.UNKNOWN if has_begun else Exit.USAGE) from error


def _counted(items: Iterable[Item], messages: Messages) -> Iterator[Item]:
    for item in items:
        messages.read += 1
        yield item


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of `connect`.

    Raises:
        CommandError, ConfigurationError: An option is invalid.
    """
    timeout: httpx.Timeout | None = None
    if options.timeout is not None:
        timeout = httpx.Timeout(options.timeout, connect=min(options.timeout, _CONNECT_TIMEOUT))
    credentials: httpx.Auth | None = None
    if options.token_file is not None:
        credentials = _token(options.token_file)
    elif options.profile is not None:
        credentials = find_credentials(options.region, os.environ, profile=options.profile)
    where = {"endpoint": options.endpoint, "region": options.region}
    return {**where, "credentials": credentials, "timeout": timeout}


def _token(file: str) -> TokenAuth:
    name = "standard input" if file == "-" else file
    if file == "-" and sys.stdin.isatty():
        raise CommandError("--token-file -: the terminal would show the token; use a pipe")
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        # On Windows, text files begin with a BOM, and PowerShell's > writes UTF-16.
        encoding = "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
        return TokenAuth(raw.decode(encoding).strip())
    except OSError as error:
        raise CommandError(f"--token-file: {name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise CommandError(f"--token-file: {name} has no token: it is not text") from None
    except ValueError as error:
        raise CommandError(f"--token-file: {name}: {error}") from None


@contextmanager
def as_command_errors() -> Generator[None, None, None]:
    """Turn errors of the library into a `CommandError`."""
    try:
        yield
    except (ConfigurationError, JournalError) as error:
        raise CommandError(in_options(str(error))) from error
    except InputError as error:
        raise CommandError(str(error)) from error
