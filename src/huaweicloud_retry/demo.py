"""`python -m huaweicloud_retry.demo`: shows the client with the mock server. Needs the extra `mock`."""

import asyncio
import os

import httpx

from huaweicloud_retry.auth import TokenAuth
from huaweicloud_retry.mock import running
from huaweicloud_retry_client import BadRequestError, Client
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.api.workspace import retry_script_execution
from huaweicloud_retry_client.models import EngineActionRequest, RetryScriptExecutionRequest

PROJECT = "demo-project"
ENGINE = "4a1bc63d-4719-4bd3-b1ad-5ee590b05e87"
RECORD = "0000000059071dbc01591661d3990020"
TASK = "0000000059071dbc01591661d3990019"


def synchronous(url: str) -> None:
    """Call both operations, one after the other."""
    print("\nSync, one after the other:")
    with Client(url, auth=TokenAuth("mock-token")) as client:
        job = retry_engine.sync(PROJECT, ENGINE, client=client, body=EngineActionRequest())
        print(f"  RetryEngine           engine {job.name} ({job.id}): job {job.job_id} runs again")
        script = RetryScriptExecutionRequest(record_id=RECORD)
        task = retry_script_execution.sync(PROJECT, client=client, body=script)
        print(f"  RetryScriptExecution  record {RECORD}: task {task.task_id} runs again")


async def asynchronous(url: str) -> None:
    """Call both operations at the same time."""
    print("\nAsync, both at the same time:")
    async with Client(url, auth=TokenAuth("mock-token")) as client:
        script = RetryScriptExecutionRequest(task_id=TASK)
        job, task = await asyncio.gather(
            retry_engine.asyncio(PROJECT, ENGINE, client=client, body=EngineActionRequest()),
            retry_script_execution.asyncio(PROJECT, client=client, body=script),
        )
        print(f"  RetryEngine           engine {job.name} ({job.id}): job {job.job_id} runs again")
        print(f"  RetryScriptExecution  task {task.task_id} runs again")


def refused(url: str) -> None:
    """Retry a job that has not failed."""
    print("\nThe same engine again, whose job is running:")
    with Client(url, auth=TokenAuth("mock-token")) as client:
        try:
            retry_engine.sync(PROJECT, ENGINE, client=client, body=EngineActionRequest())
        except BadRequestError as error:
            print(f"  {type(error).__name__}: {error}")
            outcome = "unknown" if error.outcome_unknown else "no"
            print(f"  did it go through? {outcome}; code {error.error_code}")


def main() -> None:
    """Start the mock, call the operations, stop the mock."""
    # A proxy cannot reach this machine's loopback interface.
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        os.environ.pop(name, None)
    with running() as url:
        print(f"The mock replaces both services at {url}.")
        synchronous(url)
        httpx.post(f"{url}/_mock/reset").raise_for_status()
        print("\nPOST /_mock/reset: the job and the record have failed again.")
        asyncio.run(asynchronous(url))
        refused(url)
    print("\nThe mock is stopped.")


if __name__ == "__main__":
    main()
