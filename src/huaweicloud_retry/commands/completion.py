"""`hwc-retry completion`: prints the completion script of a shell."""

import argparse
import sys

from .exits import CommandError, printing

DESCRIPTION = "Print the completion script of a shell."
SHELLS = ("bash", "zsh", "fish", "tcsh")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
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
        import shtab  # noqa: PLC0415 - not in the base install
    except ModuleNotFoundError as error:
        raise CommandError(f"{error}; pip install 'huaweicloud-retry[cli]'") from error
    parsers: list[argparse.ArgumentParser] = options.parsers
    for parser in parsers:
        for action in parser._actions:  # noqa: SLF001 - argparse has no public access; shtab does the same
            if str(action.metavar).startswith(("FILE", "JOURNAL")):
                action.complete = shtab.FILE  # type: ignore[attr-defined] # shtab reads it there
            if action.dest == "region":
                action.choices = _regions()  # only here: with an endpoint, a region can be any name
    script = shtab.complete(parsers[0], options.shell)
    with printing():
        sys.stdout.write(f"{script}\n")
    return 0
