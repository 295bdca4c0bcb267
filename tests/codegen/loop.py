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
    assert wire.same(sent, meant), f"meant {meant!r}\nbut sent {sent!r}\nas {request.url!r} {request.content!r}"
    assert wire.same(returned, answer.body), f"received {answer.body!r}\nbut returned {returned!r}"
    return request, made


def refuses(client: Client, operation: Operation, arguments: dict[str, Any], answer: Answer, error: str) -> None:
    """Call, and expect an error of this name."""
    try:
        returned = client.call(operation, arguments, answer.response)
    except Exception as caught:  # noqa: BLE001 - the client's classes are not those of this process
        assert error in [each.__name__ for each in type(caught).__mro__], repr(caught)
    else:
        pytest.fail(f"received {answer.status} {answer.body!r}, which is invalid, and returned {returned!r}")
