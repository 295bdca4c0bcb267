"""The mock's documentation page: Swagger UI over openapi.yaml, at /docs, with nothing from outside.

The files of Swagger UI are those that the distribution mkdocs-swagger-ui-tag carries; nothing of its code is run.
"""

import json
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Any

import mkdocs_swagger_ui_tag  # type: ignore[import-untyped] # an empty module: its files are what is wanted

from .answer import Answer, Encoded, Refusal
from .request import Request
from .state import State

if TYPE_CHECKING:
    from collections.abc import Callable

# No exceptions for scripts and styles: neither the page nor Swagger UI has any within the HTML.
# data: because Swagger UI's stylesheet, and the page's icon, have their images inline.
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HTML = "text/html; charset=utf-8"
_SCRIPT = "text/javascript; charset=utf-8"
_STYLE = "text/css; charset=utf-8"


class Docs:
    """The page, its assets and the spec. Swagger UI's 1.7 MB are read when first asked for, and then kept."""

    def __init__(self, document: dict[str, Any], raw: bytes, state: State) -> None:
        """Find the files, and read none. The spec is needed parsed and as it is; the page shows the state's credentials."""
        self._state = state
        own = resources.files(__package__ or __name__)
        swagger_ui = resources.files(mkdocs_swagger_ui_tag) / "swagger-ui"
        style = swagger_ui / "stylesheets" / "swagger-ui.css"
        self._makers: dict[str, tuple[str, Callable[[], bytes]]] = {
            "/docs": (_HTML, (own / "docs.html").read_bytes),
            "/docs/docs.css": (_STYLE, (own / "docs.css").read_bytes),
            "/docs/docs.js": (_SCRIPT, (own / "docs.js").read_bytes),
            "/docs/swagger-ui.css": (_STYLE, style.read_bytes),
            "/docs/swagger-ui-bundle.js": (
                _SCRIPT,
                (swagger_ui / "javascripts" / "swagger-ui-bundle.js").read_bytes,
            ),
            "/openapi.json": ("application/json", lambda: json.dumps(document, ensure_ascii=False).encode()),
            "/openapi.yaml": ("application/yaml", lambda: raw),
        }
        self._made: dict[str, bytes] = {}

    def get(self, request: Request) -> Encoded | None:
        """Return a page; None if the path is none of them. Raises Refusal: the method is not one to get it."""
        path = request.path
        if path not in self._makers:
            return None
        allow = {"Allow": "GET, HEAD, OPTIONS"}
        if request.method == "OPTIONS":
            return Answer(204, None, allow).encoded(request.id)
        if request.method not in {"GET", "HEAD"}:
            raise Refusal("MOCK.405", f"{path} has only {allow['Allow']}.", headers=allow)
        content_type, make = self._makers[path]
        if path not in self._made:
            self._made[path] = make()
        content = self._with_credentials(self._made[path]) if path == "/docs" else self._made[path]
        headers = {"x-request-id": request.id, "content-type": content_type}
        return Encoded(200, {**headers, "content-security-policy": _CONTENT_SECURITY_POLICY}, content)

    def _with_credentials(self, page: bytes) -> bytes:
        token, shown = self._state.credentials.shown()
        rows = [
            f"<div><dt>{escape(kind)}</dt><dd>{escape(names)}</dd></div>" for kind, names in shown.items()
        ]
        return page.replace(b"{token}", escape(token).encode()).replace(
            b"{credentials}", "".join(rows).encode()
        )
