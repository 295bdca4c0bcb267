"""`hwc-retry`, the command."""

import argparse
from collections.abc import Sequence

from huaweicloud_retry import verify
from huaweicloud_retry.mock import __main__ as mock


def main(args: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit code."""
    parser = argparse.ArgumentParser(prog="hwc-retry", description="Huawei Cloud's two retry operations.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    mock.configure(commands.add_parser("mock", help=mock.DESCRIPTION, description=mock.DESCRIPTION))
    verify.configure(commands.add_parser("verify", help=verify.DESCRIPTION, description=verify.DESCRIPTION))
    options = parser.parse_args(args)
    return int(options.run(options))
