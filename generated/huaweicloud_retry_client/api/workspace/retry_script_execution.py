"""Retry a (failed) script execution task."""

from typing import Any

import httpx

from ...client import Client, path_segment
from ...models.retry_script_execution_request import RetryScriptExecutionRequest
from ...models.retry_script_execution_response import RetryScriptExecutionResponse
from ...types import Response, check_type, load_json


def _get_kwargs(
    project_id: str,
    *,
    body: RetryScriptExecutionRequest,
) -> dict[str, Any]:
    if not (body.record_id or body.task_id):
        raise ValueError("RetryScriptExecutionRequest needs record_id or task_id; neither was given")
    headers: dict[str, Any] = {}

    headers["Accept"] = "application/json"

    _kwargs: dict[str, Any] = {
        "method": "POST",
        "path": "/v2/{project_id}/script-executions/retry".format(
            project_id=path_segment("project_id", project_id),
        ),
        "headers": headers,
        "service": "workspace",
        "project_id": project_id,
    }
    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    return _kwargs


def _parse(status_code: int, content: bytes) -> RetryScriptExecutionResponse:
    if status_code == 200:
        data: Any = load_json(content)
        check_type(data, dict)
        response_200 = RetryScriptExecutionResponse.from_dict(data)

        check_type(response_200, RetryScriptExecutionResponse)
        return response_200
    raise ValueError(f"{status_code} is not a status of this operation")


def sync_detailed(
    project_id: str,
    *,
    client: Client,
    body: RetryScriptExecutionRequest,
    timeout: float | httpx.Timeout | None = None,
) -> Response[RetryScriptExecutionResponse]:
    """As `sync`, but return the service's response whatever its status, and raise only if there is none."""
    kwargs = _get_kwargs(
        project_id=project_id,
        body=body,
    )
    return client.call(kwargs, _parse, timeout)


def sync(
    project_id: str,
    *,
    client: Client,
    body: RetryScriptExecutionRequest,
    timeout: float | httpx.Timeout | None = None,
) -> RetryScriptExecutionResponse:
    """Retry a (failed) script execution task.

    Name the record of one run, or a task, in the body. The answer names the task that now runs;
    whether it is the same task or a new one is documented nowhere.

    IAM action: workspace:scripts:retry. The API can be tried in API Explorer, which
    authenticates automatically and generates SDK sample code.

    Official page: https://support.huaweicloud.com/intl/en-us/api-workspace/RetryScriptExecution.html

    Args:
        project_id (str): Project ID.
        client (Client): Where to send the request, and with which credentials.
        body (RetryScriptExecutionRequest): What to run again: a record or a task.
        timeout (float | httpx.Timeout | None): Seconds for this call, in place of the client's timeout.

    Returns:
        200: Response to the request for retrying a script.

    Raises:
        BadRequestError: 400. The request cannot be understood by the server due to malformed syntax.
        AuthenticationError: 401. Authentication failed.
        PermissionDeniedError: 403. No operation permissions.
        NotFoundError: 404. No resources found.
        MethodNotAllowedError: 405. The method specified in the request is not allowed.
        APIStatusError: 413. The body is over 12 MB; the gateway's answer (0201).
        APIStatusError: 414. The URI is over 32 KB; the gateway's answer (0201).
        RateLimitError: 429. The throttling limit is reached (0308); the gateway's answer, before the service saw the request.
        APIStatusError: 494. One header is over 32 KB, or all together over 128 KB; the gateway's answer (0201).
        InternalServerError: 500. An internal service error occurred.
        InternalServerError: 502. The gateway had no usable answer from the service (0201, 0202, 0610).
        InternalServerError: 503. Service unavailable.
        InternalServerError: 504. The service did not answer the gateway in time (0201, 0203).
        APIResponseValidationError: The status is 2xx, but the response is not what the contract promises.
        APIConnectionError: No response; APITimeoutError: not in time. outcome_unknown says whether the request may have been processed.
        ValueError: An argument cannot be sent. Nothing was.
    """

    return sync_detailed(
        project_id=project_id,
        client=client,
        body=body,
        timeout=timeout,
    ).result()


async def asyncio_detailed(
    project_id: str,
    *,
    client: Client,
    body: RetryScriptExecutionRequest,
    timeout: float | httpx.Timeout | None = None,
) -> Response[RetryScriptExecutionResponse]:
    """As `asyncio`, but return the service's response whatever its status, and raise only if there is none."""
    kwargs = _get_kwargs(
        project_id=project_id,
        body=body,
    )
    return await client.acall(kwargs, _parse, timeout)


async def asyncio(
    project_id: str,
    *,
    client: Client,
    body: RetryScriptExecutionRequest,
    timeout: float | httpx.Timeout | None = None,
) -> RetryScriptExecutionResponse:
    """Retry a (failed) script execution task.

    Name the record of one run, or a task, in the body. The answer names the task that now runs;
    whether it is the same task or a new one is documented nowhere.

    IAM action: workspace:scripts:retry. The API can be tried in API Explorer, which
    authenticates automatically and generates SDK sample code.

    Official page: https://support.huaweicloud.com/intl/en-us/api-workspace/RetryScriptExecution.html

    Args:
        project_id (str): Project ID.
        client (Client): Where to send the request, and with which credentials.
        body (RetryScriptExecutionRequest): What to run again: a record or a task.
        timeout (float | httpx.Timeout | None): Seconds for this call, in place of the client's timeout.

    Returns:
        200: Response to the request for retrying a script.

    Raises:
        BadRequestError: 400. The request cannot be understood by the server due to malformed syntax.
        AuthenticationError: 401. Authentication failed.
        PermissionDeniedError: 403. No operation permissions.
        NotFoundError: 404. No resources found.
        MethodNotAllowedError: 405. The method specified in the request is not allowed.
        APIStatusError: 413. The body is over 12 MB; the gateway's answer (0201).
        APIStatusError: 414. The URI is over 32 KB; the gateway's answer (0201).
        RateLimitError: 429. The throttling limit is reached (0308); the gateway's answer, before the service saw the request.
        APIStatusError: 494. One header is over 32 KB, or all together over 128 KB; the gateway's answer (0201).
        InternalServerError: 500. An internal service error occurred.
        InternalServerError: 502. The gateway had no usable answer from the service (0201, 0202, 0610).
        InternalServerError: 503. Service unavailable.
        InternalServerError: 504. The service did not answer the gateway in time (0201, 0203).
        APIResponseValidationError: The status is 2xx, but the response is not what the contract promises.
        APIConnectionError: No response; APITimeoutError: not in time. outcome_unknown says whether the request may have been processed.
        ValueError: An argument cannot be sent. Nothing was.
    """

    response = await asyncio_detailed(
        project_id=project_id,
        client=client,
        body=body,
        timeout=timeout,
    )
    return response.result()
