"""The mock's documentation page: Swagger UI for openapi.yaml, at /docs. It loads nothing from other hosts.

The files of Swagger UI come from the package mkdocs-swagger-ui-tag; none of its code runs.
"""

import json
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Any

import mkdocs_swagger_ui_tag  # type: ignore[import-untyped] # an empty module with data files

from .request import MockRequest
from .response import Encoded, MockResponse, Refusal
from .state import State

if TYPE_CHECKING:
    from collections.abc import Callable

# No 'unsafe-inline': neither the page nor Swagger UI has scripts or styles in the HTML.
# data: is for the images in Swagger UI's stylesheet and for the page's icon.
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HTML = "text/html; charset=utf-8"
_SCRIPT = "text/javascript; charset=utf-8"
_STYLE = "text/css; charset=utf-8"


class Docs:
    """The page, its assets and the spec. Swagger UI's 1.7 MB are read at the first request, and cached."""

    def __init__(self, document: dict[str, Any], raw: bytes, state: State) -> None:
        """Take the spec, parsed and raw, and the state, whose credentials the page shows."""
        self._state = state
        own = resources.files(__package__ or __name__)
        swagger_ui = resources.files(mkdocs_swagger_ui_tag) / "swagger-ui"
        style = swagger_ui / "stylesheets" / "swagger-ui.css"
        bundle = swagger_ui / "javascripts" / "swagger-ui-bundle.js"
        self._readers: dict[str, tuple[str, Callable[[], bytes]]] = {
            "/docs": (_HTML, (own / "docs.html").read_bytes),
            "/docs/docs.css": (_STYLE, (own / "docs.css").read_bytes),
            "/docs/docs.js": (_SCRIPT, (own / "docs.js").read_bytes),
            "/docs/swagger-ui.css": (_STYLE, style.read_bytes),
            "/docs/swagger-ui-bundle.js": (_SCRIPT, bundle.read_bytes),
            "/openapi.json": ("application/json", lambda: json.dumps(document, ensure_ascii=False).encode()),
            "/openapi.yaml": ("application/yaml", lambda: raw),
        }
        self._cache: dict[str, bytes] = {}

    def get(self, request: MockRequest) -> Encoded | None:
        """Return the file at a path; None: there is none. Raises Refusal: the method is not GET or HEAD."""
        path = request.path
        if path not in self._readers:
            return None
        allow = {"Allow": "GET, HEAD, OPTIONS"}
        if request.method == "OPTIONS":
            return MockResponse(204, None, allow).encoded(request.id)
        if request.method not in {"GET", "HEAD"}:
            raise Refusal("MOCK.405", f"{path} has only {allow['Allow']}.", headers=allow)
        content_type, read = self._readers[path]
        if path not in self._cache:
            self._cache[path] = read()
        content = self._cache[path]
        if path == "/docs":
            content = self._with_credentials(content)
        headers = {"x-request-id": request.id, "content-type": content_type}
        return Encoded(200, {**headers, "content-security-policy": _CONTENT_SECURITY_POLICY}, content)

    def _with_credentials(self, page: bytes) -> bytes:
        token, shown = self._state.credentials.shown()
        rows = [f"<div><dt>{escape(kind)}</dt><dd>{escape(text)}</dd></div>" for kind, text in shown.items()]
        page = page.replace(b"{token}", escape(token).encode())
        return page.replace(b"{credentials}", "".join(rows).encode())
