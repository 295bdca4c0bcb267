"""List script execution records."""

from typing import Any, cast

import httpx
from huaweicloud_retry.runtime import parameters as _write
from huaweicloud_retry.runtime.models import check_type as _check

from ...client import Client
from ...models.list_script_records_task_type import ListScriptRecordsTaskType
from ...models.script_record_page import ScriptRecordPage
from ...types import UNSET, Response, Unset, load_json


def _get_kwargs(
    project_id: str,
    *,
    offset: int | Unset = UNSET,
    limit: int | Unset = UNSET,
    resource_id: list[str] | Unset = UNSET,
    resource_group_id: list[str] | Unset = UNSET,
    script_id: list[str] | Unset = UNSET,
    script_name: list[str] | Unset = UNSET,
    status: str | Unset = UNSET,
    is_first_order: bool | Unset = UNSET,
    script_task_id: str | Unset = UNSET,
    task_type: ListScriptRecordsTaskType | Unset = UNSET,
    show_history: bool | Unset = UNSET,
    execute_time_start: str | Unset = UNSET,
    execute_time_end: str | Unset = UNSET,
) -> dict[str, Any]:
    _check(offset, int | Unset, "offset")
    _check(limit, int | Unset, "limit")
    _check(resource_id, list[str] | Unset, "resource_id")
    _check(resource_group_id, list[str] | Unset, "resource_group_id")
    _check(script_id, list[str] | Unset, "script_id")
    _check(script_name, list[str] | Unset, "script_name")
    _check(status, str | Unset, "status")
    _check(is_first_order, bool | Unset, "is_first_order")
    _check(script_task_id, str | Unset, "script_task_id")
    _check(task_type, ListScriptRecordsTaskType | Unset, "task_type")
    _check(show_history, bool | Unset, "show_history")
    _check(execute_time_start, str | Unset, "execute_time_start")
    _check(execute_time_end, str | Unset, "execute_time_end")
    _kwargs: dict[str, Any] = {
        "method": "GET",
        "path": "/v2/" + _write.path("project_id", project_id) + "/script-execution-records",
        "query": "&".join(
            [
                *_write.query("offset", offset),
                *_write.query("limit", limit),
                *_write.query("resource_id", resource_id),
                *_write.query("resource_group_id", resource_group_id),
                *_write.query("script_id", script_id),
                *_write.query("script_name", script_name),
                *_write.query("status", status),
                *_write.query("is_first_order", is_first_order),
                *_write.query("script_task_id", script_task_id),
                *_write.query("task_type", task_type),
                *_write.query("show_history", show_history),
                *_write.query("execute_time_start", execute_time_start),
                *_write.query("execute_time_end", execute_time_end),
            ]
        ),
        "headers": {
            "Accept": "application/json",
        },
        "service": "workspace",
        "project_id": project_id,
    }
    return _kwargs


def _parse(status_code: int, content: bytes) -> ScriptRecordPage:
    if status_code == 200:
        return cast("ScriptRecordPage", load_json(content, ScriptRecordPage))
    raise ValueError(f"{status_code} is not a status of this operation")


def sync_detailed(
    project_id: str,
    *,
    client: Client,
    offset: int | Unset = UNSET,
    limit: int | Unset = UNSET,
    resource_id: list[str] | Unset = UNSET,
    resource_group_id: list[str] | Unset = UNSET,
    script_id: list[str] | Unset = UNSET,
    script_name: list[str] | Unset = UNSET,
    status: str | Unset = UNSET,
    is_first_order: bool | Unset = UNSET,
    script_task_id: str | Unset = UNSET,
    task_type: ListScriptRecordsTaskType | Unset = UNSET,
    show_history: bool | Unset = UNSET,
    execute_time_start: str | Unset = UNSET,
    execute_time_end: str | Unset = UNSET,
    timeout: float | httpx.Timeout | None = None,
) -> Response[ScriptRecordPage]:
    """Like `sync`, but return the response with any status, and raise only if there is none."""
    return client.call(
        _get_kwargs(
            project_id=project_id,
            offset=offset,
            limit=limit,
            resource_id=resource_id,
            resource_group_id=resource_group_id,
            script_id=script_id,
            script_name=script_name,
            status=status,
            is_first_order=is_first_order,
            script_task_id=script_task_id,
            task_type=task_type,
            show_history=show_history,
            execute_time_start=execute_time_start,
            execute_time_end=execute_time_end,
        ),
        _parse,
        timeout,
    )


def sync(
    project_id: str,
    *,
    client: Client,
    offset: int | Unset = UNSET,
    limit: int | Unset = UNSET,
    resource_id: list[str] | Unset = UNSET,
    resource_group_id: list[str] | Unset = UNSET,
    script_id: list[str] | Unset = UNSET,
    script_name: list[str] | Unset = UNSET,
    status: str | Unset = UNSET,
    is_first_order: bool | Unset = UNSET,
    script_task_id: str | Unset = UNSET,
    task_type: ListScriptRecordsTaskType | Unset = UNSET,
    show_history: bool | Unset = UNSET,
    execute_time_start: str | Unset = UNSET,
    execute_time_end: str | Unset = UNSET,
    timeout: float | httpx.Timeout | None = None,
) -> ScriptRecordPage:
    """List script execution records.

    Only reads. Script execution records, page by page: `count` is the number of all matches, and `offset`
    skips the first of them. Records must match all given filters.

    IAM action: workspace:scripts:listRecords.

    Official page: https://support.huaweicloud.com/intl/en-us/api-workspace/ListScriptRecords.html

    Args:
        project_id (str): Project ID. Example: demo-project.
        client (Client): Where to send the request, and with which credentials.
        offset (int | Unset): How many records to skip, by default 0. Example: 0.
        limit (int | Unset): How many records a page has at most, 1 to 100, by default 10. Example: 10.
        resource_id (list[str] | Unset): IDs of the resources on which scripts ran.
        resource_group_id (list[str] | Unset): IDs of groups of resources on which scripts ran.
        script_id (list[str] | Unset): IDs of the scripts that ran.
        script_name (list[str] | Unset): Names of the scripts that ran.
        status (str | Unset): Status of the records, in the words that they have themselves.
        is_first_order (bool | Unset): Whether to list those of the first batch only.
        script_task_id (str | Unset): Script execution task ID.
        task_type (ListScriptRecordsTaskType | Unset): Type of the task, SCRIPT or COMMAND.
        show_history (bool | Unset): Whether to list earlier records as well, by default false. If true, resource_id and script_id are needed.
        execute_time_start (str | Unset): List the records that ran after this time, such as 2021-10-01T12:00:00Z.
        execute_time_end (str | Unset): List the records that ran before this time, such as 2021-10-01T12:00:00Z.
        timeout (float | httpx.Timeout | None): Seconds for this call, instead of the client's timeout.

    Returns:
        200: A page of records. Headers: X-Request-Id (The gateway's ID of the request, to quote to support).

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
        client=client,
        offset=offset,
        limit=limit,
        resource_id=resource_id,
        resource_group_id=resource_group_id,
        script_id=script_id,
        script_name=script_name,
        status=status,
        is_first_order=is_first_order,
        script_task_id=script_task_id,
        task_type=task_type,
        show_history=show_history,
        execute_time_start=execute_time_start,
        execute_time_end=execute_time_end,
        timeout=timeout,
    ).result()


async def asyncio_detailed(
    project_id: str,
    *,
    client: Client,
    offset: int | Unset = UNSET,
    limit: int | Unset = UNSET,
    resource_id: list[str] | Unset = UNSET,
    resource_group_id: list[str] | Unset = UNSET,
    script_id: list[str] | Unset = UNSET,
    script_name: list[str] | Unset = UNSET,
    status: str | Unset = UNSET,
    is_first_order: bool | Unset = UNSET,
    script_task_id: str | Unset = UNSET,
    task_type: ListScriptRecordsTaskType | Unset = UNSET,
    show_history: bool | Unset = UNSET,
    execute_time_start: str | Unset = UNSET,
    execute_time_end: str | Unset = UNSET,
    timeout: float | httpx.Timeout | None = None,
) -> Response[ScriptRecordPage]:
    """Like `asyncio`, but return the response with any status, and raise only if there is none."""
    return await client.acall(
        _get_kwargs(
            project_id=project_id,
            offset=offset,
            limit=limit,
            resource_id=resource_id,
            resource_group_id=resource_group_id,
            script_id=script_id,
            script_name=script_name,
            status=status,
            is_first_order=is_first_order,
            script_task_id=script_task_id,
            task_type=task_type,
            show_history=show_history,
            execute_time_start=execute_time_start,
            execute_time_end=execute_time_end,
        ),
        _parse,
        timeout,
    )


async def asyncio(
    project_id: str,
    *,
    client: Client,
    offset: int | Unset = UNSET,
    limit: int | Unset = UNSET,
    resource_id: list[str] | Unset = UNSET,
    resource_group_id: list[str] | Unset = UNSET,
    script_id: list[str] | Unset = UNSET,
    script_name: list[str] | Unset = UNSET,
    status: str | Unset = UNSET,
    is_first_order: bool | Unset = UNSET,
    script_task_id: str | Unset = UNSET,
    task_type: ListScriptRecordsTaskType | Unset = UNSET,
    show_history: bool | Unset = UNSET,
    execute_time_start: str | Unset = UNSET,
    execute_time_end: str | Unset = UNSET,
    timeout: float | httpx.Timeout | None = None,
) -> ScriptRecordPage:
    """List script execution records.

    Only reads. Script execution records, page by page: `count` is the number of all matches, and `offset`
    skips the first of them. Records must match all given filters.

    IAM action: workspace:scripts:listRecords.

    Official page: https://support.huaweicloud.com/intl/en-us/api-workspace/ListScriptRecords.html

    Args:
        project_id (str): Project ID. Example: demo-project.
        client (Client): Where to send the request, and with which credentials.
        offset (int | Unset): How many records to skip, by default 0. Example: 0.
        limit (int | Unset): How many records a page has at most, 1 to 100, by default 10. Example: 10.
        resource_id (list[str] | Unset): IDs of the resources on which scripts ran.
        resource_group_id (list[str] | Unset): IDs of groups of resources on which scripts ran.
        script_id (list[str] | Unset): IDs of the scripts that ran.
        script_name (list[str] | Unset): Names of the scripts that ran.
        status (str | Unset): Status of the records, in the words that they have themselves.
        is_first_order (bool | Unset): Whether to list those of the first batch only.
        script_task_id (str | Unset): Script execution task ID.
        task_type (ListScriptRecordsTaskType | Unset): Type of the task, SCRIPT or COMMAND.
        show_history (bool | Unset): Whether to list earlier records as well, by default false. If true, resource_id and script_id are needed.
        execute_time_start (str | Unset): List the records that ran after this time, such as 2021-10-01T12:00:00Z.
        execute_time_end (str | Unset): List the records that ran before this time, such as 2021-10-01T12:00:00Z.
        timeout (float | httpx.Timeout | None): Seconds for this call, instead of the client's timeout.

    Returns:
        200: A page of records. Headers: X-Request-Id (The gateway's ID of the request, to quote to support).

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
        client=client,
        offset=offset,
        limit=limit,
        resource_id=resource_id,
        resource_group_id=resource_group_id,
        script_id=script_id,
        script_name=script_name,
        status=status,
        is_first_order=is_first_order,
        script_task_id=script_task_id,
        task_type=task_type,
        show_history=show_history,
        execute_time_start=execute_time_start,
        execute_time_end=execute_time_end,
        timeout=timeout,
    )
    return _response.result()
