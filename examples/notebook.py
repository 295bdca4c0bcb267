"""Retry an engine and wait for its job. A notebook (`# %%` begins a cell) that also runs as a script."""

# %%
import asyncio
import os

from huaweicloud_retry import connect
from huaweicloud_retry.follow import wait_for_job
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.models import EngineActionRequest

PROJECT = os.environ["HW_PROJECT_ID"]
ENGINE = "4a1bc63d-4719-4bd3-b1ad-5ee590b05e87"


# %%
async def retry_and_wait() -> str:
    """Return how the job ended."""
    async with connect("cse") as client:
        job = await retry_engine.asyncio(PROJECT, ENGINE, client=client, body=EngineActionRequest())
        status = await wait_for_job.asyncio(client, PROJECT, ENGINE, job.job_id, timeout=600)
    return f"{status.state}: {status}"


# %% In a notebook an event loop runs already: `await retry_and_wait()` in a cell of its own.
if "get_ipython" not in globals():
    print(asyncio.run(retry_and_wait()))
