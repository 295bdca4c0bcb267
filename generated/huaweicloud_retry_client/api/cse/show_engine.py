"""Show an engine."""

from typing import Any, cast

import httpx
from huaweicloud_retry.runtime import parameters as _write
from huaweicloud_retry.runtime.models import check_type as _check

from ...client import Client
from ...models.engine import Engine
from ...types import UNSET, Response, Unset, load_json


def _get_kwargs(
    project_id: str,
    engine_id: str,
    *,
    x_enterprise_project_id: str | Unset = UNSET,
) -> dict[str, Any]:
    _check(x_enterprise_project_id, str | Unset, "x_enterprise_project_id")
    _kwargs: dict[str, Any] = {
        "method": "GET",
        "path": "/v2/"
        + _write.path("project_id", project_id)
        + "/enginemgr/engines/"
        + _write.path("engine_id", engine_id),
        "headers": {
            **_write.header("X-Enterprise-Project-ID", x_enterprise_project_id),
            "Accept": "application/json",
        },
        "service": "cse",
        "project_id": project_id,
    }
    return _kwargs


def _parse(status_code: int, content: bytes) -> Engine:
    if status_code == 200:
        return cast("Engine", load_json(content, Engine))
    raise ValueError(f"{status_code} is not a status of this operation")


def sync_detailed(
    project_id: str,
    engine_id: str,
    *,
    client: Client,
    x_enterprise_project_id: str | Unset = UNSET,
    timeout: float | httpx.Timeout | None = None,
) -> Response[Engine]:
    """Like `sync`, but return the response with any status, and raise only if there is none."""
    return client.call(
        _get_kwargs(
            project_id=project_id,
            engine_id=engine_id,
            x_enterprise_project_id=x_enterprise_project_id,
        ),
        _parse,
        timeout,
    )


def sync(
    project_id: str,
    engine_id: str,
    *,
    client: Client,
    x_enterprise_project_id: str | Unset = UNSET,
    timeout: float | httpx.Timeout | None = None,
) -> Engine:
    """Show an engine.

    Only reads. `latestJobId` is the job to read with ShowEngineJob. `Retry` among
    `engineAdditionalActions` means that RetryEngine would be accepted.

    IAM action: cse:engine:get.

    Official page: https://support.huaweicloud.com/api-cse/cse_06_0031.html

    Args:
        project_id (str): Project ID. Example: demo-project.
        engine_id (str): Engine ID. Example: 4a1bc63d-4719-4bd3-b1ad-5ee590b05e87.
        client (Client): Where to send the request, and with which credentials.
        x_enterprise_project_id (str | Unset): Enterprise project ID. If this parameter is not set, the default enterprise project is default and the ID is 0. Example: 0.
        timeout (float | httpx.Timeout | None): Seconds for this call, instead of the client's timeout.

    Returns:
        200: OK. The engine. Headers: X-Request-Id (The gateway's ID of the request, to quote to support).

    Raises:
        BadRequestError: 400. Bad Request. Every error code of an engine has this status, also that of an unknown engine.
        AuthenticationError: 401. Authentication failed; sent by the gateway (0301, 0303, 0305, 0307, 0311).
        PermissionDeniedError: 403. Access refused; sent by the gateway. Not always a missing permission: blocklists or allowlists (0302, 0304, 0306), an unavailable project (0310), client addresses (0401, 0402), a blocked user (0802).
        NotFoundError: 404. The API is unknown, unpublished, or has no backend; sent by the gateway (0101, 0103, 0108).
        MethodNotAllowedError: 405. Quota used up (0501), app frozen (0502), or the path does not have the method.
        APIStatusError: 414. The URI is over 32 KB; sent by the gateway (0201).
        RateLimitError: 429. The throttling limit is reached (0308); sent by the gateway, and the service did not receive the request. The default is 200 calls a second for each API; nothing documents those of these operations.
        APIStatusError: 494. One header is over 32 KB, or all together over 128 KB; sent by the gateway (0201).
        InternalServerError: 500. Internal Server Error
        InternalServerError: 502. The service sent no valid response (0201, 0202, 0610). It may have processed the request.
        InternalServerError: 503. The gateway could not check the credentials because IAM is unavailable (0613).
        InternalServerError: 504. The service did not respond to the gateway in time (0201, 0203). It may have processed the request.
        APIResponseValidationError: The status is 2xx, but the response is not what the contract promises.
        APIConnectionError, APITimeoutError: No response, or none in time. See their outcome_unknown.
        ValueError: An argument cannot be sent. Nothing was sent.
        TypeError: An argument has another type. Nothing was sent.
    """

    return sync_detailed(
        project_id=project_id,
        engine_id=engine_id,
        client=client,
        x_enterprise_project_id=x_enterprise_project_id,
        timeout=timeout,
    ).result()


async def asyncio_detailed(
    project_id: str,
    engine_id: str,
    *,
    client: Client,
    x_enterprise_project_id: str | Unset = UNSET,
    timeout: float | httpx.Timeout | None = None,
) -> Response[Engine]:
    """Like `asyncio`, but return the response with any status, and raise only if there is none."""
    return await client.acall(
        _get_kwargs(
            project_id=project_id,
            engine_id=engine_id,
            x_enterprise_project_id=x_enterprise_project_id,
        ),
        _parse,
        timeout,
    )


async def asyncio(
    project_id: str,
    engine_id: str,
    *,
    client: Client,
    x_enterprise_project_id: str | Unset = UNSET,
    timeout: float | httpx.Timeout | None = None,
) -> Engine:
    """Show an engine.

    Only reads. `latestJobId` is the job to read with ShowEngineJob. `Retry` among
    `engineAdditionalActions` means that RetryEngine would be accepted.

    IAM action: cse:engine:get.

    Official page: https://support.huaweicloud.com/api-cse/cse_06_0031.html

    Args:
        project_id (str): Project ID. Example: demo-project.
        engine_id (str): Engine ID. Example: 4a1bc63d-4719-4bd3-b1ad-5ee590b05e87.
        client (Client): Where to send the request, and with which credentials.
        x_enterprise_project_id (str | Unset): Enterprise project ID. If this parameter is not set, the default enterprise project is default and the ID is 0. Example: 0.
        timeout (float | httpx.Timeout | None): Seconds for this call, instead of the client's timeout.

    Returns:
        200: OK. The engine. Headers: X-Request-Id (The gateway's ID of the request, to quote to support).

    Raises:
        BadRequestError: 400. Bad Request. Every error code of an engine has this status, also that of an unknown engine.
        AuthenticationError: 401. Authentication failed; sent by the gateway (0301, 0303, 0305, 0307, 0311).
        PermissionDeniedError: 403. Access refused; sent by the gateway. Not always a missing permission: blocklists or allowlists (0302, 0304, 0306), an unavailable project (0310), client addresses (0401, 0402), a blocked user (0802).
        NotFoundError: 404. The API is unknown, unpublished, or has no backend; sent by the gateway (0101, 0103, 0108).
        MethodNotAllowedError: 405. Quota used up (0501), app frozen (0502), or the path does not have the method.
        APIStatusError: 414. The URI is over 32 KB; sent by the gateway (0201).
        RateLimitError: 429. The throttling limit is reached (0308); sent by the gateway, and the service did not receive the request. The default is 200 calls a second for each API; nothing documents those of these operations.
        APIStatusError: 494. One header is over 32 KB, or all together over 128 KB; sent by the gateway (0201).
        InternalServerError: 500. Internal Server Error
        InternalServerError: 502. The service sent no valid response (0201, 0202, 0610). It may have processed the request.
        InternalServerError: 503. The gateway could not check the credentials because IAM is unavailable (0613).
        InternalServerError: 504. The service did not respond to the gateway in time (0201, 0203). It may have processed the request.
        APIResponseValidationError: The status is 2xx, but the response is not what the contract promises.
        APIConnectionError, APITimeoutError: No response, or none in time. See their outcome_unknown.
        ValueError: An argument cannot be sent. Nothing was sent.
        TypeError: An argument has another type. Nothing was sent.
    """

    _response = await asyncio_detailed(
        project_id=project_id,
        engine_id=engine_id,
        client=client,
        x_enterprise_project_id=x_enterprise_project_id,
        timeout=timeout,
    )
    return _response.result()
