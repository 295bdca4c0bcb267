"""`python -m huaweicloud_retry.mock`."""

import argparse
import sys
from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run the mock until it is told to stop.

    Returns:
        The exit code: 0 stopped by Ctrl-C or SIGTERM; 2 could not start, and one line on stderr says why.
    """
    parser = argparse.ArgumentParser(
        prog="python -m huaweicloud_retry.mock",
        description="A stateful mock of both services, driven by openapi.yaml. In memory; not the live service.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8000, help="0 picks a free one (default: %(default)s)")
    options = parser.parse_args(args)
    try:
        # Here, because what these import is no part of the base install.
        from huaweicloud_retry.contract import Contract, SpecError  # noqa: PLC0415
        from huaweicloud_retry.mock.server import listen, run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        return _fail(f"{error}; pip install 'huaweicloud-retry[mock]'")
    try:
        contract = Contract.load()
        sock = listen(options.host, options.port)
    except SpecError as error:
        return _fail(str(error))
    except OSError as error:
        hint = "choose another --port, or 0 for a free one"
        return _fail(f"cannot listen on {options.host} port {options.port}: {error.strerror}; {hint}")
    with sock:
        run(sock, contract)
    return 0


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535")
    return int(text)


def _fail(message: str) -> int:
    print(f"huaweicloud_retry.mock: {message}", file=sys.stderr)  # noqa: T201
    return 2


if __name__ == "__main__":
    sys.exit(main())
