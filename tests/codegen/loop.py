"""One call of a generated function, held to its document both ways."""

from typing import Any

import httpx
import pytest

from tests.codegen import wire
from tests.codegen.cases import Answer
from tests.codegen.corpus import Client, Operation


def round_trip(
    client: Client, operation: Operation, arguments: dict[str, Any], answer: Answer, world: str
) -> tuple[httpx.Request, httpx.Response]:
    """Call, and hold the request and what the function returns to the document; what went over the wire."""
    requests: list[httpx.Request] = []
    made = answer.response()

    def respond(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return made

    returned = client.call(operation, arguments, respond, world)
    (request,) = requests
    meant = {name: value for name, value in arguments.items() if value not in (None, [], {}) or name == "body"}
    if operation.body and operation.body.kind in ("multipart", "form") and "body" in meant:
        meant["body"] = {name: value for name, value in meant["body"].items() if value != []}
    sent = wire.read(operation, request)
    defaults = {each["name"]: each.get("schema", {}).get("default") for each in operation.parameters}
    meant = {name: value for name, value in defaults.items() if sent.get(name) == value is not None} | meant
    wrong = [*wire.differences(sent, meant)]
    assert not wrong, f"sent {wrong}\nas {request.url!r} {request.headers!r} {request.content!r}"
    wrong = [*wire.differences(returned, answer.body)]
    assert not wrong, f"returned {wrong}\nfor {made.content!r}"
    return request, made


def refuses(client: Client, operation: Operation, arguments: dict[str, Any], answer: Answer, error: str) -> None:
    """Call, and expect an error of this name."""
    try:
        returned = client.call(operation, arguments, answer.response)
    except Exception as caught:  # noqa: BLE001 - the client's classes are not those of this process
        assert error in [each.__name__ for each in type(caught).__mro__], repr(caught)
    else:
        pytest.fail(f"{answer.status} with {answer.flaw} was accepted: received {answer.body!r}, returned {returned!r}")
