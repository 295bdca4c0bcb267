"""`hwc-retry engine`: RetryEngine for a few engines."""

import argparse

from .common import add_sending, add_waiting, ids_of

DESCRIPTION = "Retry the failed job of each engine (RetryEngine of CSE)."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "engine_ids", nargs="+", metavar="ENGINE_ID", help="a dedicated ServiceComb engine; - for stdin"
    )
    add_sending(parser, default_output="table on a terminal, else json")
    add_waiting(parser)
    parser.add_argument("--enterprise-project-id", metavar="ID", help="sent as X-Enterprise-Project-ID")
    parser.set_defaults(run=run, prog=parser.prog)


def run(options: argparse.Namespace) -> int:
    """Send the retries; returns the exit code."""
    from .sending import send_few  # noqa: PLC0415 - see the package

    shared = {"operation": "RetryEngine", "enterprise_project_id": options.enterprise_project_id}
    ids = ids_of(options.engine_ids, options)
    return send_few(options, [{**shared, "engine_id": engine_id} for engine_id in ids])
