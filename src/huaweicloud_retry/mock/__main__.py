"""`python -m huaweicloud_retry.mock`, and the options of `hwc-retry mock`."""

import argparse
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path

DESCRIPTION = "A stateful mock of both services, driven by openapi.yaml. In memory; not the live service."
_MAX_DELAY = 3600  # seconds


def main(args: Sequence[str] | None = None) -> int:
    """Run the mock until Ctrl-C or SIGTERM; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m huaweicloud_retry.mock", description=DESCRIPTION)
    configure(parser)
    return run(parser.parse_args(args))


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the mock's options to a parser."""
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=_port, default=8000, help="0 chooses a free one (default: %(default)s)")
    add("--state", type=Path, metavar="FILE", help="engines, scripts and credentials, in YAML")
    fault = (
        "inject a fault, such as status=503,operation=RetryEngine,times=3; repeatable; names: operation, "
        "times, share, delay, close, status, example, retry_after, acted, reply, seconds"
    )
    add("--fault", action="append", default=[], metavar="NAME=VALUE,…", help=fault)
    add("--faults", type=Path, metavar="FILE", help="a list of faults, in YAML")
    add("--seed", type=int, help="seed for random faults")
    delay = "wait before each response (default: %(default)s)"
    add("--delay", type=_seconds, default=0.0, metavar="SECONDS", help=delay)
    admin = "serve the admin endpoints under /_mock/ (default: only if --host is a loopback address)"
    add("--admin", action=argparse.BooleanOptionalAction, help=admin)
    allow_host = "also accept requests to this host name; repeatable"
    add("--allow-host", action="append", default=[], type=_host, metavar="NAME", help=allow_host)
    cors = "allow web pages of this origin to use the mock; repeatable"
    add("--cors", action="append", default=[], type=_origin, metavar="ORIGIN", help=cors)
    add("--quiet", action="store_true", help="do not log requests to stderr")
    parser.set_defaults(run=run, prog=parser.prog)


def run(options: argparse.Namespace) -> int:
    """Run the mock until Ctrl-C or SIGTERM.

    Returns:
        The exit code: 0 stopped; 2 could not start, and one line on stderr explains why.
    """
    if not options.quiet:
        _log_requests()
    try:
        # A lazy import: the base install does not include what it imports.
        from huaweicloud_retry.mock.server import StartError, serve  # noqa: PLC0415
    except ModuleNotFoundError as error:
        return _fail(options.prog, f"{error}; pip install 'huaweicloud-retry[mock]'")
    try:
        serve(options)
    except StartError as error:
        return _fail(options.prog, str(error))
    return 0


def _fail(prog: str, message: str) -> int:
    print(f"{prog}: {message}", file=sys.stderr)  # noqa: T201
    return 2


def _log_requests() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("huaweicloud_retry.mock")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: give 0 to 65535")
    return int(text)


def _host(text: str) -> str:
    if not (found := re.fullmatch(r"([\w.-]*\w)\.?|\[?([\da-fA-F]*:[\da-fA-F.]*:[\da-fA-F:.]*)\]?", text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a host name, such as mock.test")
    return found[1] or found[2]


def _origin(text: str) -> str:
    if not re.fullmatch(r"https?://[^/\s?#@]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an origin, such as http://localhost:3000")
    return text.lower()  # as browsers send it


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= _MAX_DELAY:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to {_MAX_DELAY}")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
