"""A web application that retries engines: `uvicorn web_app:app --port 8001`."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request

from huaweicloud_retry import APIError, connect
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.models import EngineActionRequest


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """One client for all requests, so that they share connections."""
    async with connect("cse") as app.state.cse:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/projects/{project_id}/engines/{engine_id}/retry", status_code=202)
async def retry(project_id: str, engine_id: str, request: Request) -> dict[str, object]:
    """Retry an engine. 502: not processed, the caller may try again. 504: unknown, look at the job first."""
    cse = request.app.state.cse
    try:
        job = await retry_engine.asyncio(project_id, engine_id, client=cse, body=EngineActionRequest())
    except APIError as error:
        if error.outcome_unknown:
            raise HTTPException(504, f"unknown whether the job runs again: {error}") from error
        raise HTTPException(502, f"not processed: {error}") from error
    return {"engine": job.name, "job_id": job.job_id}
