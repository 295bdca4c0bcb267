"""`hwc-retry`, the command. Its subcommands are in `commands`, `mock` and `verify`."""

import argparse
import difflib
import hashlib
import io
import os
import re
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final, Never

from huaweicloud_retry import verify
from huaweicloud_retry.commands import bulk, completion, engine, report, resolve, script, status
from huaweicloud_retry.commands.exits import CommandError, Exit, OutputError, printing
from huaweicloud_retry.mock import __main__ as mock

_COMMANDS: Final = {
    "engine": engine,
    "script": script,
    "bulk": bulk,
    "status": status,
    "resolve": resolve,
    "report": report,
    "mock": mock,
    "verify": verify,
    "completion": completion,
}
_DEBUG: Final = "--debug"


def main(args: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Returns:
        The exit code: that of the subcommand; 3 after an internal error, since requests may have been sent;
        130 if it was interrupted, or stdout was closed.
    """
    args = sys.argv[1:] if args is None else args
    if not _open_streams():
        print("hwc-retry: standard output is closed: give it a file, or /dev/null", file=sys.stderr)  # noqa: T201 - see below
        return Exit.USAGE
    try:
        try:
            return _run(args)
        finally:
            with printing():
                sys.stdout.flush()
    except (OutputError, BrokenPipeError) as error:
        _drop_output()
        if isinstance(error, OutputError) and not error.is_closed:
            print(f"hwc-retry: {error}", file=sys.stderr)  # noqa: T201 - see below
        return Exit.INTERRUPTED
    except KeyboardInterrupt:
        print("hwc-retry: interrupted", file=sys.stderr)  # noqa: T201 - the command's voice
        return Exit.INTERRUPTED


def _run(args: Sequence[str]) -> int:
    options = _parsed(args)

    said: set[str] = set()

    def say(message: object, *_: Any, **__: Any) -> None:
        # The filter "once" would repeat a warning for each module.
        if str(message) not in said:
            with printing():
                print(f"{options.prog}: {message}", file=sys.stderr)  # noqa: T201 - the command's voice
        said.add(str(message))

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("always", category=UserWarning)
            warnings.showwarning = say
            # These two handle errors of all files except standard output.
            with printing() if options.run in {verify.run, mock.run} else nullcontext():
                return int(options.run(options))
    except (OutputError, BrokenPipeError):
        raise
    except Exception as error:
        if _DEBUG in args:
            raise
        if isinstance(error, CommandError):
            say(error)
            return error.exit_code
        say(f"internal error: {type(error).__name__}: {error}; {_DEBUG} shows where")
        return Exit.UNKNOWN


def _parsed(args: Sequence[str]) -> argparse.Namespace:
    """Return the options. The parser of the subcommand reports an unknown one."""
    parser = _parser()
    options, unknown = parser.parse_known_args(args)
    if unknown:
        of_command = [each for each in getattr(options, "parsers", []) if each.prog == options.prog]
        (of_command or [parser])[0].error(f"unrecognized arguments: {' '.join(unknown)}")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="hwc-retry", description="Huawei Cloud's two retry operations.")
    parser.add_argument(
        "-V", "--version", action=_Version, nargs=0, help="show version and spec hash, and exit"
    )
    parser.add_argument(_DEBUG, action="store_true", help="show where an error comes from")
    parser.set_defaults(run=_Help(parser), prog=parser.prog)
    parsers: list[argparse.ArgumentParser] = [parser]
    commands = parser.add_subparsers(metavar="COMMAND")
    for name, module in _COMMANDS.items():
        command = commands.add_parser(name, help=module.DESCRIPTION, description=module.DESCRIPTION)
        module.configure(command)
        command.add_argument(_DEBUG, action="store_true", help="show where an error comes from")
        command.set_defaults(parsers=parsers)
        parsers.append(command)
    return parser


class _Parser(argparse.ArgumentParser):
    """Suggests a similar name for an unknown command, choice or option."""

    def error(self, message: str) -> Never:
        """Report a mistake, and exit."""
        words: list[tuple[str, str]] = re.findall(r"invalid choice: '([^']+)'|(--?[\w-]+)", message)
        choices = [str(choice) for action in self._actions for choice in action.choices or ()]
        options = [option for action in self._actions for option in action.option_strings]
        for choice, option in words:
            name, known = (choice, choices) if choice else (option, options)
            similar = difflib.get_close_matches(name, known, 1)
            if name not in known and similar:
                message = f"{message}; did you mean {similar[0]}?"
                break
        super().error(message)


class _Help:
    """Prints the help if no command is given."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parser = parser

    def __call__(self, _: argparse.Namespace) -> int:
        with printing():
            self._parser.print_help()
        return Exit.OK


def _open_streams() -> bool:
    """Replace closed standard streams by the null device; returns False if standard output was closed.

    Characters that a stream cannot encode are escaped: an ID can have letters that a Windows terminal lacks.
    """
    is_written = sys.stdout is not None
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - open to the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    return is_written


def _drop_output() -> None:
    """Discard buffered output of a closed pipe, or Python would report an error at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - a constant, not a path
                os.dup2(nowhere.fileno(), stream.fileno())


class _Version(argparse.Action):
    """Prints the version; reads the spec only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        here = Path(__file__)
        in_package = here.with_name("openapi.yaml")
        spec = (in_package if in_package.exists() else here.parents[2] / "openapi.yaml").read_bytes()
        version = re.search(rb"(?m)^  version: (\S+)$", spec)
        said = version[1].decode() if version else "?"
        sys.stdout.write(f"{parser.prog} {said}, openapi.yaml sha256:{hashlib.sha256(spec).hexdigest()}\n")
        parser.exit()
