"""`hwc-retry completion`: the script that makes a shell complete the command's options and files."""

import argparse
import sys

from .exits import CommandError, printing

DESCRIPTION = "Print the script that makes a shell complete this command."
SHELLS = ("bash", "zsh", "fish", "tcsh")


def configure(parser: argparse.ArgumentParser) -> None:
    """Give a parser the command's options."""
    parser.add_argument("shell", choices=SHELLS)
    parser.epilog = (
        "For bash: hwc-retry completion bash > ~/.local/share/bash-completion/completions/hwc-retry"
    )
    parser.set_defaults(run=run, prog=parser.prog)


def _regions() -> list[str]:
    from huaweicloud_retry_client.servers import SERVERS  # noqa: PLC0415 - only this command needs it

    return sorted({region for _, regions in SERVERS.values() for region in regions})


def run(options: argparse.Namespace) -> int:
    """Print the script; returns the exit code."""
    try:
        import shtab  # noqa: PLC0415 - is no part of the base install
    except ModuleNotFoundError as error:
        raise CommandError(f"{error}; pip install 'huaweicloud-retry[cli]'") from error
    parsers: list[argparse.ArgumentParser] = options.parsers
    for parser in parsers:
        for action in parser._actions:  # noqa: SLF001 - argparse has no other way to them, and shtab goes the same
            if str(action.metavar).startswith(("FILE", "JOURNAL")):
                action.complete = shtab.FILE  # type: ignore[attr-defined] # where shtab looks for it
            if action.dest == "region":
                action.choices = _regions()  # here only: a host of the environment may be of another region
    script = shtab.complete(parsers[0], options.shell)
    with printing():
        sys.stdout.write(f"{script}\n")
    return 0
