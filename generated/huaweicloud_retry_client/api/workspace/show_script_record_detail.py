"""Show a script execution record."""

from typing import Any, cast

import httpx
from huaweicloud_retry.runtime import parameters as _write

from ...client import Client
from ...models.script_record_detail import ScriptRecordDetail
from ...types import Response, load_json


def _get_kwargs(
    project_id: str,
    record_id: str,
) -> dict[str, Any]:
    _kwargs: dict[str, Any] = {
        "method": "GET",
        "path": "/v2/"
        + _write.path("project_id", project_id)
        + "/script-execution-records/"
        + _write.path("record_id", record_id),
        "headers": {
            "Accept": "application/json",
        },
        "service": "workspace",
        "project_id": project_id,
    }
    return _kwargs


def _parse(status_code: int, content: bytes) -> ScriptRecordDetail:
    if status_code == 200:
        return cast("ScriptRecordDetail", load_json(content, ScriptRecordDetail))
    raise ValueError(f"{status_code} is not a status of this operation")


def sync_detailed(
    project_id: str,
    record_id: str,
    *,
    client: Client,
    timeout: float | httpx.Timeout | None = None,
) -> Response[ScriptRecordDetail]:
    """Like `sync`, but return the response with any status, and raise only if there is none."""
    return client.call(
        _get_kwargs(
            project_id=project_id,
            record_id=record_id,
        ),
        _parse,
        timeout,
    )


def sync(
    project_id: str,
    record_id: str,
    *,
    client: Client,
    timeout: float | httpx.Timeout | None = None,
) -> ScriptRecordDetail:
    """Show a script execution record.

    Only reads. One record, as in ListScriptRecords, with the script's output.

    IAM action: workspace:scripts:getRecordDetail.

    Official page: https://support.huaweicloud.com/intl/en-us/api-workspace/ShowScriptRecordDetail.html

    Args:
        project_id (str): Project ID. Example: demo-project.
        record_id (str): Script execution record ID. Example: 0000000059071dbc01591661d3990020.
        client (Client): Where to send the request, and with which credentials.
        timeout (float | httpx.Timeout | None): Seconds for this call, instead of the client's timeout.

    Returns:
        200: The record. Headers: X-Request-Id (The gateway's ID of the request, to quote to support).

    Raises:
        BadRequestError: 400. The request cannot be understood by the server due to malformed syntax.
        AuthenticationError: 401. Authentication failed.
        PermissionDeniedError: 403. No operation permissions.
        NotFoundError: 404. No resources found.
        MethodNotAllowedError: 405. The method specified in the request is not allowed.
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
        record_id=record_id,
        client=client,
        timeout=timeout,
    ).result()


async def asyncio_detailed(
    project_id: str,
    record_id: str,
    *,
    client: Client,
    timeout: float | httpx.Timeout | None = None,
) -> Response[ScriptRecordDetail]:
    """Like `asyncio`, but return the response with any status, and raise only if there is none."""
    return await client.acall(
        _get_kwargs(
            project_id=project_id,
            record_id=record_id,
        ),
        _parse,
        timeout,
    )


async def asyncio(
    project_id: str,
    record_id: str,
    *,
    client: Client,
    timeout: float | httpx.Timeout | None = None,
) -> ScriptRecordDetail:
    """Show a script execution record.

    Only reads. One record, as in ListScriptRecords, with the script's output.

    IAM action: workspace:scripts:getRecordDetail.

    Official page: https://support.huaweicloud.com/intl/en-us/api-workspace/ShowScriptRecordDetail.html

    Args:
        project_id (str): Project ID. Example: demo-project.
        record_id (str): Script execution record ID. Example: 0000000059071dbc01591661d3990020.
        client (Client): Where to send the request, and with which credentials.
        timeout (float | httpx.Timeout | None): Seconds for this call, instead of the client's timeout.

    Returns:
        200: The record. Headers: X-Request-Id (The gateway's ID of the request, to quote to support).

    Raises:
        BadRequestError: 400. The request cannot be understood by the server due to malformed syntax.
        AuthenticationError: 401. Authentication failed.
        PermissionDeniedError: 403. No operation permissions.
        NotFoundError: 404. No resources found.
        MethodNotAllowedError: 405. The method specified in the request is not allowed.
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
        record_id=record_id,
        client=client,
        timeout=timeout,
    )
    return _response.result()
