"""`hwc-retry status`: shows the state of engines, records and tasks, without retrying anything."""

import argparse

from .common import add_where, ids_of
from .exits import CommandError

DESCRIPTION = (
    "Show the state of engines, script records or tasks, and whether a retry would be accepted. Only reads."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "engine_ids", nargs="*", metavar="ENGINE_ID", help="a dedicated ServiceComb engine; - for stdin"
    )
    parser.add_argument("--record-id", nargs="+", metavar="ID", help="one run on one desktop; - for stdin")
    parser.add_argument(
        "--task-id", nargs="+", metavar="ID", help="a task, with all its records; - for stdin"
    )
    add_where(parser)
    parser.add_argument("--enterprise-project-id", metavar="ID", help="sent as X-Enterprise-Project-ID")
    help_ = "format of stdout; default: table on a terminal, else json"
    parser.add_argument("--output", choices=("json", "table"), help=help_)
    parser.epilog = (
        "Exit code: 0 all were read, in any state; 1 at least one was not; 2 usage or configuration."
    )
    parser.set_defaults(run=run, prog=parser.prog)


def run(options: argparse.Namespace) -> int:
    """Print the states; returns the exit code."""
    given = {"engine_id": options.engine_ids, "record_id": options.record_id, "task_id": options.task_id}
    kinds = [kind for kind, ids in given.items() if ids]
    if len(kinds) != 1:
        raise CommandError("give IDs of one kind: ENGINE_ID, --record-id or --task-id")
    from .looking import show  # noqa: PLC0415 - see the package

    shared = {"operation": "RetryScriptExecution"}
    if kinds == ["engine_id"]:
        shared = {"operation": "RetryEngine", "enterprise_project_id": options.enterprise_project_id}
    return show(options, [{**shared, kinds[0]: each} for each in ids_of(given[kinds[0]], options)])
