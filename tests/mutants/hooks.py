"""The mock between two hooks of a mutant: Python that changes requests, and Python that changes responses.

What a hook sees: `r`, the request, `JSON`, its body (None if it is none), `op`, the operation's ID, `memory`, a list that
lasts as long as the server, `ERROR`, an error's body, `PARAMETERS`, the names of all query parameters, `json`, `re`, `parse_qsl`.
`request` runs before the mock; `reply = STATUS` responds in the mock's place. `response` runs behind it, and may change
`status`, `headers` (names in lower case), `body` (JSON, {} if there is none) and `content`.
"""

import json
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from huaweicloud_retry.contract import Contract, Match
from huaweicloud_retry.mock.app import App
from huaweicloud_retry.mock.faults import Faults
from huaweicloud_retry.mock.server import serving as serving_app
from huaweicloud_retry.mock.state import State, read_state

CONTRACT = Contract.load()
ERROR = {"error_code": "APIGW.0201", "error_msg": "Refused.", "request_id": ""}
DOCUMENT: Any = CONTRACT.document
PARAMETERS = {parameter["name"] for parameter in DOCUMENT["components"]["parameters"].values()}


class Broken:
    """An application: the mock, between what a mutant does to requests and what it does to responses."""

    def __init__(self, app: Any, changes: Mapping[str, Any]) -> None:
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
        names = {"json": json, "re": re, "parse_qsl": parse_qsl, "ERROR": ERROR, "PARAMETERS": PARAMETERS}
        names |= {"r": request, "op": found.operation.id if isinstance(found, Match) else ""}
        names |= {"memory": self._memory, "JSON": _json(request.body), "reply": None}
        exec(self._request, names)
        encoded = await self._app(request, pause)
        if names["reply"]:
            content = json.dumps({**ERROR, "request_id": encoded.headers["x-request-id"]}).encode()
            encoded = encoded._replace(status=names["reply"], content=content)
        body = found if isinstance(found := _json(encoded.content), dict) else {}
        names |= {
            "status": encoded.status,
            "content": encoded.content,
            "body": body,
            "recode": _recoder(body),
        }
        names |= {"headers": {name.lower(): value for name, value in encoded.headers.items()}}
        before = json.dumps(body)
        exec(self._response, names)
        if json.dumps(names["body"]) != before:
            names["content"] = json.dumps(names["body"]).encode()
        return encoded._replace(status=names["status"], headers=names["headers"], content=names["content"])


def _recoder(body: dict[str, Any]) -> Any:
    def recode(part: str, code: str) -> None:
        """Give an error whose code has this part another code."""
        if part in str(body.get("error_code")):
            body["error_code"] = code

    return recode


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


@contextmanager
def serving(what: str, changes: Mapping[str, Any], state: Path) -> Generator[str, None, None]:
    """Serve a mutant of the mock; yields its URL."""
    broken = Broken(App(CONTRACT, State(read_state(state.read_bytes())), Faults()), changes)
    with serving_app(broken) as url:
        yield url
    if broken.error:
        raise RuntimeError(f"mutant {what!r} fails by itself") from broken.error
