"""`hwc-retry script`: RetryScriptExecution for a few records or tasks."""

import argparse

from .common import add_sending, add_waiting, ids_of

DESCRIPTION = "Run script executions again, by record or by task (RetryScriptExecution of Workspace)."


def configure(parser: argparse.ArgumentParser) -> None:
    """Give a parser the command's options."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--record-id", nargs="+", metavar="ID", help="one run on one desktop; - for stdin")
    which.add_argument("--task-id", nargs="+", metavar="ID", help="a task, with all its records; - for stdin")
    which.add_argument(
        "--failed-of", metavar="TASK_ID", help="each failed record of a task, which is read for them"
    )
    add_sending(parser, default_output="table on a terminal, else json")
    add_waiting(parser)
    parser.set_defaults(run=run, prog=parser.prog)


def run(options: argparse.Namespace) -> int:
    """Send them; returns the exit code."""
    from .sending import send_failed_of, send_few  # noqa: PLC0415 - see the package

    if options.failed_of is not None:
        return send_failed_of(options)
    name, ids = ("record_id", options.record_id) if options.record_id else ("task_id", options.task_id)
    return send_few(
        options, [{"operation": "RetryScriptExecution", name: each} for each in ids_of(ids, options)]
    )
