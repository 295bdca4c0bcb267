"""What a type checker sees of the generated client. Nobody runs this file: mypy and pyright read it.

A line with `type: ignore` is wrong on purpose: both checkers must object to it, or the comment is one too many.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import assert_type

import httpx

import huaweicloud_retry_client as face
from huaweicloud_retry import IAMAuthenticationError, IAMError, PasswordAuth, Resend, TokenAuth, connect
from huaweicloud_retry_client import UNSET, APIError, APIStatusError, Client, Response, Unset
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.api.workspace import retry_script_execution
from huaweicloud_retry_client.models import EngineActionRequest, EngineActionResponse
from huaweicloud_retry_client.models import RetryScriptExecutionRequest as ScriptRequest
from huaweicloud_retry_client.models import RetryScriptExecutionResponse as ScriptResponse


async def the_operations_return_the_model_of_200_and_no_union(client: Client) -> None:
    script = ScriptRequest(record_id="r1")
    workspace = retry_script_execution
    assert_type(workspace.sync("p1", client=client, body=script), ScriptResponse)
    assert_type(workspace.sync_detailed("p1", client=client, body=script), Response[ScriptResponse])
    assert_type(await workspace.asyncio("p1", client=client, body=script), ScriptResponse)
    assert_type(await workspace.asyncio_detailed("p1", client=client, body=script), Response[ScriptResponse])

    body = EngineActionRequest()
    cse = retry_engine
    assert_type(cse.sync("p1", "e1", client=client, body=body), EngineActionResponse)
    assert_type(cse.sync_detailed("p1", "e1", client=client, body=body), Response[EngineActionResponse])
    assert_type(await cse.asyncio("p1", "e1", client=client, body=body), EngineActionResponse)
    detailed = await cse.asyncio_detailed("p1", "e1", client=client, body=body)
    assert_type(detailed, Response[EngineActionResponse])


def arguments_of_an_operation(client: Client) -> None:
    body = EngineActionRequest()
    retry_engine.sync("p1", "e1", client=client, body=body, x_enterprise_project_id="0", timeout=5)
    retry_engine.sync("p1", "e1", client=client, body=body, x_enterprise_project_id=UNSET, timeout=None)
    retry_engine.sync("p1", "e1", client=client, body=body, timeout=httpx.Timeout(5))
    retry_engine.sync(project_id="p1", engine_id="e1", client=client, body=body)

    retry_engine.sync("p1", "e1", client, body)  # type: ignore[call-arg]
    retry_engine.sync("p1", client=client, body=body)  # type: ignore[call-arg]
    retry_engine.sync("p1", "e1", client=client)  # type: ignore[call-arg]
    retry_engine.sync("p1", None, client=client, body=body)  # type: ignore[arg-type]
    retry_engine.sync("p1", "e1", client=client, body=ScriptRequest())  # type: ignore[arg-type]
    retry_engine.sync("p1", "e1", client=client, body={"action": "Retry"})  # type: ignore[arg-type]
    retry_engine.sync("p1", "e1", client=client, body=body, x_enterprise_project_id=None)  # type: ignore[arg-type]
    retry_engine.sync("p1", "e1", client=client, body=body, timeout="5")  # type: ignore[arg-type]


def models_are_keyword_only_and_their_fields_typed(
    script: ScriptResponse, engine: EngineActionResponse, request: ScriptRequest
) -> None:
    assert_type(script.task_id, str)
    assert_type(engine.id, str)
    assert_type(engine.name, str)
    assert_type(engine.job_id, int)
    assert_type(request.record_id, str | Unset)
    assert_type(EngineActionResponse.from_dict({}), EngineActionResponse)
    EngineActionRequest()
    EngineActionRequest(action="Retry")
    ScriptRequest(record_id="r1", task_id="t1")

    EngineActionRequest("Retry")  # type: ignore[call-arg]
    EngineActionRequest(action="Delete")  # type: ignore[arg-type]
    ScriptRequest("r1")  # type: ignore[call-arg]
    ScriptRequest(record_id=None)  # type: ignore[arg-type]
    ScriptRequest(record_id=[{"record_id": "r1"}])  # type: ignore[arg-type]
    EngineActionResponse(id="e1", name="n")  # type: ignore[call-arg]
    engine.jobId  # type: ignore[attr-defined] # noqa: B018


def a_response(response: Response[EngineActionResponse]) -> None:
    assert_type(response.status_code, int)
    assert_type(response.headers, httpx.Headers)
    assert_type(response.content, bytes)
    assert_type(response.parsed, EngineActionResponse | None)
    assert_type(response.problem, str | None)
    assert_type(response.error, APIStatusError | face.APIResponseValidationError | None)
    assert_type(response.result(), EngineActionResponse)

    response.status_code = 200  # type: ignore[misc]
    response.parsed.job_id  # type: ignore[union-attr] # noqa: B018


async def the_client(context: ssl.SSLContext) -> None:
    auth, headers = httpx.BasicAuth("u", "p"), {"X-Auth-Token": "t"}
    Client("http://127.0.0.1", auth=auth, timeout=5, headers=headers, verify=context)
    Client("http://127.0.0.1", verify=Path("ca.pem"), resend=Resend(max_attempts=2), service="cse")
    Client("http://127.0.0.1", verify=False, transport=httpx.AsyncHTTPTransport())
    Client("http://127.0.0.1", transport=httpx.MockTransport(lambda _: httpx.Response(200)))
    with Client("http://127.0.0.1") as client:
        assert_type(client, Client)
    async with Client("http://127.0.0.1") as client:
        assert_type(client, Client)

    Client()  # type: ignore[call-arg]
    Client("http://127.0.0.1", httpx.BasicAuth("u", "p"))  # type: ignore[call-arg]
    Client("http://127.0.0.1", auth="t0ken")  # type: ignore[arg-type]
    Client("http://127.0.0.1", transport=httpx.Client())  # type: ignore[arg-type]
    Client("http://127.0.0.1", verify=3)  # type: ignore[arg-type]


def every_error(error: APIError) -> None:
    assert_type(error.outcome_unknown, bool)
    if isinstance(error, APIStatusError):
        assert_type(error.status_code, int)
        assert_type(error.error_code, str | None)
        assert_type(error.error_msg, str)
        assert_type(error.detail, str | None)
        assert_type(error.request_id, str | None)
        assert_type(error.response.content, bytes)
        error.retry_after  # type: ignore[attr-defined] # noqa: B018
    if isinstance(error, face.RateLimitError):
        assert_type(error.retry_after, float | None)
    if isinstance(error, face.APIResponseValidationError):
        assert_type(error.status_code, int)
        assert_type(error.problem, str)
        assert_type(error.request_id, str | None)
        assert_type(error.response.content, bytes)


def ways_to_authenticate() -> None:
    Client("http://127.0.0.1", auth=TokenAuth("t0ken"))
    Client("http://127.0.0.1", auth=TokenAuth(lambda: "t0ken"))
    Client("http://127.0.0.1", auth=PasswordAuth("u", "p", domain_name="d"))
    PasswordAuth("u", "p", domain_name="d", project_id="p1", iam_endpoint="https://iam.test")
    PasswordAuth("u", "p", domain_name="d", project_name="cn-north-4")

    TokenAuth()  # type: ignore[call-arg]
    TokenAuth(lambda: None)  # type: ignore[arg-type,return-value]
    PasswordAuth("u", "p")  # type: ignore[call-arg]
    PasswordAuth("u", "p", "d")  # type: ignore[call-arg]


def ways_to_connect(context: ssl.SSLContext) -> None:
    assert_type(connect("cse", verify="ca.pem", transport=httpx.HTTPTransport()), Client)
    connect("workspace", verify=context, resend=Resend(initial_backoff=2, max_backoff=30.0))

    connect("obs")  # type: ignore[arg-type]
    connect("cse", http_client=httpx.Client())  # type: ignore[call-arg]
    Resend(3)  # type: ignore[call-arg]

    connect("cse", check_contract="log")
    connect("cse", check_contract="raise")
    connect("cse", check_contract=None)

    connect("cse", check_contract=True)  # type: ignore[arg-type]
    connect("cse", check_contract="warn")  # type: ignore[arg-type]


def errors_of_iam(error: IAMAuthenticationError) -> None:
    iam: IAMError = error
    wrong_credentials: face.AuthenticationError = error
    assert_type(iam.outcome_unknown, bool)
    assert_type(wrong_credentials.error_code, str | None)


ERRORS: list[type[APIError]] = [face.APIConnectionError, face.APITimeoutError, APIStatusError]
RESPONSES: list[type[APIError]] = [face.APIResponseValidationError]
STATUS_ERRORS: list[type[APIStatusError]] = [
    *[face.BadRequestError, face.AuthenticationError, face.PermissionDeniedError, face.NotFoundError],
    *[face.MethodNotAllowedError, face.RateLimitError, face.InternalServerError],
]
