"""One call of a generated function, held to its document both ways."""

import asyncio
import inspect
import io
import re
import warnings
from collections.abc import Callable
from typing import Any, get_type_hints

import httpx
import pytest

from huaweicloud_retry.auth import TokenAuth
from huaweicloud_retry.runtime.models import dump, load
from huaweicloud_retry.runtime.parameters import File
from tests.codegen import wire
from tests.codegen.cases import Call, DrawnResponse
from tests.codegen.corpus import Operation
from tests.codegen.project import Generated


def check(client: Generated, operation: Operation, call: Call) -> tuple[httpx.Request, httpx.Response]:
    """Call with each of the responses; what went over the wire with the good one."""
    for drawn, error in ((call.invalid, "APIResponseValidationError"), (call.error, "APIStatusError")):
        if drawn:
            _expect(client, operation, call, drawn, error)
    return _round_trip(client, operation, call)


def _round_trip(client: Generated, operation: Operation, call: Call) -> tuple[httpx.Request, httpx.Response]:
    requests: list[httpx.Request] = []
    made = call.good.response()

    def respond(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return made

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        returned = _call(client, operation, call, respond)
    (request,) = requests
    sent = wire.read(operation, request)
    wrong = [*wire.differences(sent, wire.as_sent(operation, call.arguments, sent))]
    assert not wrong, f"sent {wrong}\nas {request.url!r} {request.headers!r} {request.content!r}"
    wrong = [*wire.differences(returned, call.good.body)]
    assert not wrong, f"returned {wrong}\nfor {made.content!r}"
    warned = [str(each.message) for each in caught if each.category is DeprecationWarning]
    assert operation.warns(call.arguments) == bool(warned), f"deprecated; warnings: {warned}"
    return request, made


def _expect(client: Generated, operation: Operation, call: Call, drawn: DrawnResponse, error: str) -> None:
    """Expect an error by its name: the classes are those of another import."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            returned = _call(client, operation, call, drawn.response)
        except Exception as caught:  # noqa: BLE001 - the test says which
            assert error in [each.__name__ for each in type(caught).__mro__], f"{drawn.what}: {caught!r}"  # noqa: PT017 - see above
            return
    pytest.fail(f"{drawn.status}, {drawn.what}: accepted {drawn.body!r}, and returned {returned!r}")


def _call(
    client: Generated, operation: Operation, call: Call, respond: Callable[[httpx.Request], httpx.Response]
) -> Any:
    """What a function returns, as JSON."""
    with client.entered():
        files = (client.folder / "huaweicloud_retry_client" / "api").glob("*/*.py")
        (file,) = (file for file in files if _plain(file.stem) == _plain(operation.id))
        function = getattr(
            client.module(f"api.{file.parent.name}.{file.stem}"),
            {"sync": "sync", "async": "asyncio"}[call.mode],
        )
        hints = get_type_hints(function, include_extras=True)
        names = {_plain(re.sub("^field_", "", name)): name for name in inspect.signature(function).parameters}
        given = {names[_plain(name)]: value for name, value in call.arguments.items()}
        if operation.body and "body" in given:
            given["body"] = _with_files(operation, operation.body.schema, operation.body.kind, given["body"])
        given = {name: load(value, hints[name]) for name, value in given.items()}
        client_class = client.module("").Client
        made = client_class("http://test", auth=TokenAuth("t0ken"), transport=httpx.MockTransport(respond))
        returned = function(**given, client=made)
        returned = dump(asyncio.run(returned) if call.mode == "async" else returned)
    return returned.decode("latin-1") if isinstance(returned, bytes) else returned


def _with_files(operation: Operation, schema: dict[str, Any], kind: str, value: Any) -> Any:
    """Put bytes and files in the place of binary texts, of which JSON has none."""
    if kind == "binary":
        return value.encode("latin-1")
    schema = operation.follow(schema)
    if kind != "multipart":
        return value
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        return {
            name: _with_files(operation, properties.get(name, {}), kind, each) for name, each in value.items()
        }
    if isinstance(value, list):
        return [_with_files(operation, schema.get("items", {}), kind, each) for each in value]
    is_file = schema.get("format") == "binary"
    return File(io.BytesIO(value.encode("latin-1")), file_name="a file") if is_file else value


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()
