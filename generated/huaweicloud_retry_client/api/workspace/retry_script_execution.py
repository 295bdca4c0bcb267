"""Retry a (failed) script execution task."""

from typing import Any, cast

import httpx
from huaweicloud_retry.runtime import parameters as _write

from ...client import Client
from ...models.retry_script_execution_request import RetryScriptExecutionRequest
from ...models.retry_script_execution_response import RetryScriptExecutionResponse
from ...types import Response, load_json


def _get_kwargs(
    project_id: str,
    *,
    body: RetryScriptExecutionRequest,
) -> dict[str, Any]:
    _kwargs: dict[str, Any] = {
        "method": "POST",
        "path": "/v2/" + _write.path("project_id", project_id) + "/script-executions/retry",
        "headers": {
            "Accept": "application/json",
        },
        "service": "workspace",
        "project_id": project_id,
    }
    _kwargs |= _write.json_body(body, RetryScriptExecutionRequest, "application/json")
    return _kwargs


def _parse(status_code: int, content: bytes) -> RetryScriptExecutionResponse:
    if status_code == 200:
        return cast("RetryScriptExecutionResponse", load_json(content, RetryScriptExecutionResponse))
    raise ValueError(f"{status_code} is not a status of this operation")


def sync_detailed(
    project_id: str,
    *,
    client: Client,
    body: RetryScriptExecutionRequest,
    timeout: float | httpx.Timeout | None = None,
) -> Response[RetryScriptExecutionResponse]:
    """Like `sync`, but return the response with any status, and raise only if there is none."""
    return client.call(
        _get_kwargs(
            project_id=project_id,
            body=body,
        ),
        _parse,
        timeout,
    )


def sync(
    project_id: str,
    *,
    client: Client,
    body: RetryScriptExecutionRequest,
    timeout: float | httpx.Timeout | None = None,
) -> RetryScriptExecutionResponse:
    """Retry a (failed) script execution task.

    The body names the record of one run, or a task. The response names the task that now runs;
    whether it is the same task or a new one is documented nowhere.

    IAM action: workspace:scripts:retry. The API can be tried in API Explorer, which
    authenticates automatically and generates SDK sample code.

    Official page: https://support.huaweicloud.com/intl/en-us/api-workspace/RetryScriptExecution.html

    Args:
        project_id (str): Project ID. Example: demo-project.
        client (Client): Where to send the request, and with which credentials.
        body (RetryScriptExecutionRequest): What to run again: a record or a task. Each is optional, and what the service does with neither, or with both, is documented nowhere. This client refuses a request with neither. In the page's example, `record_id` is an array of objects. The page's parameter table, five languages of the page and four SDKs say string, and the page of StopScriptExecution has the same example with the field's name as its value. So this contract says string.
        timeout (float | httpx.Timeout | None): Seconds for this call, instead of the client's timeout.

    Returns:
        200: Response to the request for retrying a script. Headers: X-Request-Id (The gateway's ID of the request, to quote to support).

    Raises:
        BadRequestError: 400. The request cannot be understood by the server due to malformed syntax.
        AuthenticationError: 401. Authentication failed.
        PermissionDeniedError: 403. No operation permissions.
        NotFoundError: 404. No resources found.
        MethodNotAllowedError: 405. The method specified in the request is not allowed.
        APIStatusError: 413. The body is over 12 MB; sent by the gateway (0201).
        APIStatusError: 414. The URI is over 32 KB; sent by the gateway (0201).
        RateLimitError: 429. The throttling limit is reached (0308); sent by the gateway, and the service did not receive the request. The default is 200 calls a second for each API; nothing documents those of these operations.
        APIStatusError: 494. One header is over 32 KB, or all together over 128 KB; sent by the gateway (0201).
        InternalServerError: 500. An internal service error occurred. For details, see the error code description.
        InternalServerError: 502. The service sent no valid response (0201, 0202, 0610). It may have processed the request.
        InternalServerError: 503. Service unavailable.
        InternalServerError: 504. The service did not respond to the gateway in time (0201, 0203). It may have processed the request.
        APIResponseValidationError: The status is 2xx, but the response is not what the contract promises.
        APIConnectionError, APITimeoutError: No response, or none in time. See their outcome_unknown.
        ValueError: An argument cannot be sent. Nothing was sent.
        TypeError: An argument has another type. Nothing was sent.
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
    """Like `asyncio`, but return the response with any status, and raise only if there is none."""
    return await client.acall(
        _get_kwargs(
            project_id=project_id,
            body=body,
        ),
        _parse,
        timeout,
    )


async def asyncio(
    project_id: str,
    *,
    client: Client,
    body: RetryScriptExecutionRequest,
    timeout: float | httpx.Timeout | None = None,
) -> RetryScriptExecutionResponse:
    """Retry a (failed) script execution task.

    The body names the record of one run, or a task. The response names the task that now runs;
    whether it is the same task or a new one is documented nowhere.

    IAM action: workspace:scripts:retry. The API can be tried in API Explorer, which
    authenticates automatically and generates SDK sample code.

    Official page: https://support.huaweicloud.com/intl/en-us/api-workspace/RetryScriptExecution.html

    Args:
        project_id (str): Project ID. Example: demo-project.
        client (Client): Where to send the request, and with which credentials.
        body (RetryScriptExecutionRequest): What to run again: a record or a task. Each is optional, and what the service does with neither, or with both, is documented nowhere. This client refuses a request with neither. In the page's example, `record_id` is an array of objects. The page's parameter table, five languages of the page and four SDKs say string, and the page of StopScriptExecution has the same example with the field's name as its value. So this contract says string.
        timeout (float | httpx.Timeout | None): Seconds for this call, instead of the client's timeout.

    Returns:
        200: Response to the request for retrying a script. Headers: X-Request-Id (The gateway's ID of the request, to quote to support).

    Raises:
        BadRequestError: 400. The request cannot be understood by the server due to malformed syntax.
        AuthenticationError: 401. Authentication failed.
        PermissionDeniedError: 403. No operation permissions.
        NotFoundError: 404. No resources found.
        MethodNotAllowedError: 405. The method specified in the request is not allowed.
        APIStatusError: 413. The body is over 12 MB; sent by the gateway (0201).
        APIStatusError: 414. The URI is over 32 KB; sent by the gateway (0201).
        RateLimitError: 429. The throttling limit is reached (0308); sent by the gateway, and the service did not receive the request. The default is 200 calls a second for each API; nothing documents those of these operations.
        APIStatusError: 494. One header is over 32 KB, or all together over 128 KB; sent by the gateway (0201).
        InternalServerError: 500. An internal service error occurred. For details, see the error code description.
        InternalServerError: 502. The service sent no valid response (0201, 0202, 0610). It may have processed the request.
        InternalServerError: 503. Service unavailable.
        InternalServerError: 504. The service did not respond to the gateway in time (0201, 0203). It may have processed the request.
        APIResponseValidationError: The status is 2xx, but the response is not what the contract promises.
        APIConnectionError, APITimeoutError: No response, or none in time. See their outcome_unknown.
        ValueError: An argument cannot be sent. Nothing was sent.
        TypeError: An argument has another type. Nothing was sent.
    """

    _response = await asyncio_detailed(
        project_id=project_id,
        client=client,
        body=body,
        timeout=timeout,
    )
    return _response.result()
