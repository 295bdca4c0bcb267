"""`python -m huaweicloud_retry.demo`: what the client does, shown against the mock. Needs the extra `mock`."""

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
    print("\nSynchronous, one after the other:")
    with Client(url, auth=TokenAuth("mock-token")) as client:
        job = retry_engine.sync(PROJECT, ENGINE, client=client, body=EngineActionRequest())
        print(f"  RetryEngine           engine {job.name} ({job.id}): job {job.job_id} runs again")
        script = RetryScriptExecutionRequest(record_id=RECORD)
        task = retry_script_execution.sync(PROJECT, client=client, body=script)
        print(f"  RetryScriptExecution  record {RECORD}: task {task.task_id} runs again")


async def asynchronous(url: str) -> None:
    """Call both operations at once."""
    print("\nAsynchronous, both at once:")
    async with Client(url, auth=TokenAuth("mock-token")) as client:
        script = RetryScriptExecutionRequest(task_id=TASK)
        job, task = await asyncio.gather(
            retry_engine.asyncio(PROJECT, ENGINE, client=client, body=EngineActionRequest()),
            retry_script_execution.asyncio(PROJECT, client=client, body=script),
        )
        print(f"  RetryEngine           engine {job.name} ({job.id}): job {job.job_id} runs again")
        print(f"  RetryScriptExecution  task {task.task_id} runs again")


def refused(url: str) -> None:
    """Retry what is not failed."""
    print("\nThe same engine again, whose job now runs:")
    with Client(url, auth=TokenAuth("mock-token")) as client:
        try:
            retry_engine.sync(PROJECT, ENGINE, client=client, body=EngineActionRequest())
        except BadRequestError as error:
            print(f"  {type(error).__name__}: {error}")
            print(
                f"  did it go through? {'unknown' if error.outcome_unknown else 'no'}; code {error.error_code}"
            )


def main() -> None:
    """Start the mock, show everything, stop the mock."""
    # No proxy leads to this machine's loopback.
    for name in (
        "http_proxy",
        "HTTP_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ):
        os.environ.pop(name, None)
    with running() as url:
        print(f"The mock answers at {url} in place of both services.")
        synchronous(url)
        httpx.post(f"{url}/_mock/reset").raise_for_status()
        print("\nPOST /_mock/reset: the job and the record are failed again.")
        asyncio.run(asynchronous(url))
        refused(url)
    print("\nThe mock is stopped.")


if __name__ == "__main__":
    main()
