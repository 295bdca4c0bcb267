"""Servers that break a documented rule: the mock with something changed. server.yaml says what.

What Python in it sees beside its own variables: `JSON`, the body of the request (None if it is none), `ERROR`, an error
body, `PARAMETERS`, the names of all query parameters, `json`, `re`, `parse_qsl`, and the methods of Response below.
"""

import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from huaweicloud_retry.contract import Contract, Match
from tests.mutants import changed

ALIAS = "huaweicloud_retry_mutant"
ERROR = {"error_code": "APIGW.0201", "error_msg": "Refused.", "request_id": ""}
CONTRACT = Contract.load()
PARAMETERS = {p["name"] for p in CONTRACT.document["components"]["parameters"].values()}  # type: ignore[index,call-overload,union-attr]


def mutants() -> list[changed.Mutant]:
    """Return all of them."""
    return changed.read(Path(__file__).with_suffix(".yaml"))


class Response:
    """A response, while a mutant changes it."""

    def __init__(self, encoded: Any) -> None:
        self.headers = {name.lower(): value for name, value in encoded.headers.items()}
        self.body = body if isinstance(body := _json(encoded.content), dict) else {}

    def recode(self, part: str, code: str) -> None:
        """Give an error whose code has this part another code."""
        if part in str(self.body.get("error_code")):
            self.body["error_code"] = code

    def rename(self, old: str, new: str) -> None:
        """Rename a field, if there is one."""
        if old in self.body:
            self.body[new] = self.body.pop(old)

    def put(self, name: str, value: Any) -> None:
        """Change a field, if there is one."""
        if name in self.body:
            self.body[name] = value

    def set_(self, name: str, value: str) -> None:
        """Set a header."""
        self.headers[name] = value

    def unset(self, name: str) -> None:
        """Take a header away, if there is one."""
        self.headers.pop(name, None)


class Broken:
    """An application: the mock, between what a mutant does to requests and what it does to responses."""

    def __init__(self, app: Any, changes: Any) -> None:
        self._app, self._memory = app, list[Any]()
        self.error: Exception | None = None
        self._request, self._response = (
            compile(changes.get(name, ""), name, "exec") for name in ("request", "response")
        )

    async def __call__(self, request: Any, pause: Any) -> Any:
        """Answer one request."""
        if request.path.startswith("/_mock/"):
            return await self._app(request, pause)
        try:
            return await self._responded(request, pause)
        except Exception as error:
            self.error = error
            raise

    async def _responded(self, request: Any, pause: Any) -> Any:
        found = CONTRACT.match(request.method, request.path)
        op = found.operation.id if isinstance(found, Match) else ""
        names = {"json": json, "re": re, "parse_qsl": parse_qsl, "ERROR": ERROR, "PARAMETERS": PARAMETERS}
        names |= {"r": request, "op": op, "memory": self._memory, "JSON": _json(request.body), "reply": None}
        exec(self._request, names)
        encoded = await self._app(request, pause)
        if names["reply"]:
            content = json.dumps({**ERROR, "request_id": encoded.headers["x-request-id"]}).encode()
            encoded = encoded._replace(status=names["reply"], content=content)
        response = Response(encoded)
        before = json.dumps(response.body)
        names |= {
            n: getattr(response, n) for n in ("headers", "body", "recode", "rename", "put", "set_", "unset")
        }
        names |= {"status": encoded.status, "content": encoded.content}
        exec(self._response, names)
        if json.dumps(names["body"]) != before:
            names["content"] = json.dumps(names["body"]).encode()
        return encoded._replace(status=names["status"], headers=names["headers"], content=names["content"])


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


@contextmanager
def broken(mutant: changed.Mutant, state: Path) -> Generator[str, None, None]:
    """Serve a mutant of the mock; yields its URL."""
    with changed.imported(mutant, ALIAS):
        app, contract, faults, server, states = (
            import_module(f"{ALIAS}.{name}")
            for name in ("mock.app", "contract", "mock.faults", "mock.server", "mock.state")
        )
        known = states.State(states.read_state(state.read_bytes()))
        whole = app.App(contract.Contract.load(), known, faults.Faults())
        between = Broken(whole, mutant.changes)
        with server.serving(between) as url:
            yield url
        if between.error:
            raise RuntimeError(f"mutant {mutant.what!r} fails by itself") from between.error
