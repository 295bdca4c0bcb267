"""`hwc-retry verify`: checks recorded traffic against the contract."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .har import Report

DESCRIPTION = "Check the requests and responses of a HAR file against openapi.yaml."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to a parser."""
    file = "HTTP Archive 1.2, as exported by browsers and proxies; - for stdin"
    parser.add_argument("file", metavar="FILE.har", help=file)
    parser.epilog = "Exit code: 0 no deviation, 1 deviations, 2 nothing could be checked."
    parser.set_defaults(run=run, prog=parser.prog)


def run(options: argparse.Namespace) -> int:
    """Print one line for each deviation, then how much was checked.

    Returns:
        The exit code: 0 no deviation; 1 deviations; 2 nothing was checked, explained on stderr.
    """
    try:
        # Lazy imports: the base install does not include what they import.
        from .contract import Contract, SpecError  # noqa: PLC0415
        from .har import check  # noqa: PLC0415
        from .parsing import UnreadableError, escape_unprintable  # noqa: PLC0415
    except ModuleNotFoundError as error:
        return _fail(options.prog, f"{error}; pip install 'huaweicloud-retry[contract]'")
    name = "standard input" if options.file == "-" else escape_unprintable(options.file)
    try:
        raw = sys.stdin.buffer.read() if options.file == "-" else Path(options.file).read_bytes()
        report = check(raw, Contract.load(hide_values=True))
    except OSError as error:
        return _fail(options.prog, f"{name}: cannot be read: {error.strerror}")
    except UnreadableError as error:
        return _fail(options.prog, f"{name}: {error}")
    except SpecError as error:
        return _fail(options.prog, str(error))
    if not report.requests:
        why = f"none of {report.skipped} entries is for an operation of the contract"
        if report.findings:
            why = str(report.findings[0])
        return _fail(options.prog, f"{name}: nothing to check: {why}")
    _show(report)
    return 1 if report.deviations() else 0


def _show(report: "Report") -> None:
    lines = [str(finding) for finding in report.findings]
    lines += [
        f"{operation}: requests {count}, deviations {report.deviations(operation)}"
        for operation, count in sorted(report.requests.items())
    ]
    unchecked = len(report.findings) - report.deviations()
    skipped = f"entries of other APIs or with OPTIONS {report.skipped}"
    lines.append(f"not checked: parts of entries {unchecked}, {skipped}")
    sys.stdout.writelines(f"{line}\n" for line in lines)


def _fail(prog: str, message: str) -> int:
    print(f"{prog}: {message}", file=sys.stderr)  # noqa: T201 - a command's output
    return 2
