"""`hwc-retry script`: RetryScriptExecution for a few records or tasks."""

import argparse

from .common import add_sending, add_waiting, ids_of

DESCRIPTION = "Run script executions again, by record or by task (RetryScriptExecution of Workspace)."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--record-id", nargs="+", metavar="ID", help="one run on one desktop; - for stdin")
    which.add_argument("--task-id", nargs="+", metavar="ID", help="a task, with all its records; - for stdin")
    which.add_argument("--failed-of", metavar="TASK_ID", help="only the failed records of a task")
    add_sending(parser, default_output="table on a terminal, else json")
    add_waiting(parser)
    parser.set_defaults(run=run, prog=parser.prog)


def run(options: argparse.Namespace) -> int:
    """Send the retries; returns the exit code."""
    from .sending import send_failed_of, send_few  # noqa: PLC0415 - see the package

    if options.failed_of is not None:
        return send_failed_of(options)
    name, given = ("record_id", options.record_id) if options.record_id else ("task_id", options.task_id)
    ids = ids_of(given, options)
    return send_few(options, [{"operation": "RetryScriptExecution", name: id_} for id_ in ids])
