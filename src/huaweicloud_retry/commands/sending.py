"""What `engine`, `script` and `bulk` do: read the items and the settings, and send, or show what would be sent."""

import argparse
import asyncio
import os
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any, Final

import httpx

from huaweicloud_retry import ConfigurationError, TokenAuth
from huaweicloud_retry.bulk import Bulk, Followup, Item, JournalError
from huaweicloud_retry.bulk.inputs import InputError
from huaweicloud_retry.credentials import PROJECT_VARIABLES, find_credentials, find_project_id

from . import dry_run, signals
from .advice import in_options
from .exits import CommandError, Exit
from .following import Unended, follow
from .input import items_of, opened
from .messages import Messages
from .output import EachInTable, FoundInTable, JSONArray, JSONLines, ReasonsInTable, Writer, chosen
from .progress import bar_fits
from .run import Run
from .screen import Screen

_CONNECT_TIMEOUT: Final = 10.0  # seconds, at most; the client's own
_LIMITS: Final = ("concurrency", "grace", "retry_refused", "resend_unknown")


def send_few(options: argparse.Namespace, fields: list[dict[str, str | None]]) -> int:
    """Send a few retries without a journal; returns the exit code.

    Raises:
        CommandError: Usage or configuration; nothing was sent.
    """
    with _explained():
        settings = _settings(options)
        project_id = options.project_id or find_project_id(os.environ, profile=options.profile)
        if project_id is None:
            raise CommandError(f"no project: give --project-id, or set {' or '.join(PROJECT_VARIABLES)}")
        try:
            items = [Item.of({"project_id": project_id, **each}) for each in fields]
        except ValueError as error:
            raise CommandError(str(error)) from error
        if options.dry_run:
            dry_run.show_requests(items, settings, options.output)
            return Exit.OK
        writer = chosen(options.output, on_terminal=EachInTable, else_=JSONArray)
        bulk, screen = Bulk(items, **settings), Screen(options.prog)
        messages = Messages(screen, is_quiet=options.quiet)
        bulk.on_attempt = messages.say_attempt if options.verbose else None
        run = Run(bulk, screen, messages, writer=writer, stop=Event())
        return asyncio.run(run.go(items))


def send_many(options: argparse.Namespace, journal: Path | None) -> int:
    """Send what a file has; returns the exit code, which covers all of the input, earlier runs included.

    Raises:
        CommandError: Usage or configuration, an input or a journal that cannot be used; or the journal could not be
            written any more, and the exit code is that of what came before.
    """
    with _explained():
        settings = _settings(options)
        defaults = {
            "project_id": options.project_id or find_project_id(os.environ, profile=options.profile),
            "enterprise_project_id": options.enterprise_project_id,
        }
        signals.interrupt_on_each()
        stop = Event()
        with opened(options.file) as stream:
            given = {name: value for name, value in defaults.items() if value is not None}
            items = items_of(options, stream, given, stop)
            if options.dry_run:
                dry_run.show_plan(options, items, settings, journal)
                return Exit.OK
            writer = chosen(options.output, on_terminal=ReasonsInTable, else_=JSONLines)
            screen, rate = Screen(options.prog), options.rate or None
            has_bar = not options.quiet and bar_fits(stdout_is_written=not isinstance(writer, ReasonsInTable))
            messages = Messages(screen, journal, is_quiet=options.quiet, has_bar=has_bar, rate=rate)
            name = None if options.file == "-" else options.file
            limits = {each: getattr(options, each) for each in _LIMITS}
            counted = _counted(items, messages)
            bulk = Bulk(counted, journal=journal, input_name=name, rate=rate, **limits, **settings)
            bulk.on_attempt = messages.say_attempt if options.verbose else None
            is_followed = (options.resolve or options.wait) and journal is not None
            is_table = isinstance(writer, ReasonsInTable)
            own = Unended(writer) if is_followed and not is_table else writer
            run = Run(bulk, screen, messages, writer=own, stop=stop, journal=journal, grace=options.grace)
            try:
                code = asyncio.run(run.go())
                is_followed = is_followed and not bulk.halted and code != Exit.INTERRUPTED
            except BaseException:
                is_followed = False
                raise
            finally:
                if own is not writer and not is_followed:
                    writer.end()
        if journal is None or not is_followed:
            return code
        return follow_journal(options, journal, settings, FoundInTable() if is_table else writer, has_bar=has_bar)


def resolve_journal(options: argparse.Namespace) -> int:
    """Settle what is unknown in a journal; returns the exit code.

    Raises:
        CommandError: Usage or configuration, or a journal that cannot be used.
    """
    with _explained():
        settings = _settings(options)
        writer = chosen(options.output, on_terminal=FoundInTable, else_=JSONLines)
        has_bar = not options.quiet and bar_fits(stdout_is_written=not isinstance(writer, FoundInTable))
        return follow_journal(options, options.journal, settings, writer, has_bar=has_bar)


def follow_journal(
    options: argparse.Namespace, journal: Path, settings: dict[str, Any], writer: Writer, *, has_bar: bool
) -> int:
    """Follow the items of a journal, as --resolve and --wait say; returns the exit code.

    Raises:
        CommandError: The journal cannot be used, or not be written any more.
    """
    followup = Followup(
        journal,
        resolve=options.resolve,
        wait=options.wait,
        wait_timeout=options.wait_timeout,
        concurrency=options.concurrency,
        rate=options.rate or None,
        **settings,
    )
    following = follow(followup, writer, options.prog, is_quiet=options.quiet, has_bar=has_bar, is_waiting=options.wait)
    try:
        return asyncio.run(following)
    except JournalError as error:
        has_begun = followup.counts.total > 0
        raise CommandError(in_options(str(error)), Exit.UNKNOWN if has_begun else Exit.USAGE) from error


def _counted(items: Iterable[Item], messages: Messages) -> Iterator[Item]:
    for item in items:
        messages.read += 1
        yield item


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    timeout = options.timeout
    credentials: httpx.Auth | None = None
    if options.token_file is not None:
        credentials = _token(options.token_file)
    elif options.profile is not None:
        credentials = find_credentials(options.region, os.environ, profile=options.profile)
    return {
        "endpoint": options.endpoint,
        "region": options.region,
        "credentials": credentials,
        "timeout": None if timeout is None else httpx.Timeout(timeout, connect=min(timeout, _CONNECT_TIMEOUT)),
    }


def _token(file: str) -> TokenAuth:
    name = "standard input" if file == "-" else file
    if file == "-" and sys.stdin.isatty():
        raise CommandError("--token-file -: what is typed here would show; give it through a pipe")
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        # Windows begins text files with a BOM, and PowerShell's > writes UTF-16.
        encoding = "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
        return TokenAuth(raw.decode(encoding).strip())
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
    except (ConfigurationError, JournalError) as error:
        raise CommandError(in_options(str(error))) from error
    except InputError as error:
        raise CommandError(str(error)) from error
