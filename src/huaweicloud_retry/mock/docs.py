"""The mock's documentation page: Swagger UI over openapi.yaml, at /docs, with nothing from outside.

The files of Swagger UI are those that the distribution mkdocs-swagger-ui-tag carries; nothing of its code is run.
"""

import json
from importlib import resources
from typing import TYPE_CHECKING, Any

import mkdocs_swagger_ui_tag  # type: ignore[import-untyped] # an empty module: its files are what is wanted

if TYPE_CHECKING:
    from collections.abc import Callable

# No exceptions for scripts and styles: neither the page nor Swagger UI has any within the HTML.
# data: because Swagger UI's stylesheet, and the page's icon, have their images inline.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The `Content-Security-Policy` header to send with every answer under /docs."""

_HTML = "text/html; charset=utf-8"
_SCRIPT = "text/javascript; charset=utf-8"
_STYLE = "text/css; charset=utf-8"


class Docs:
    """The page, its assets and the spec. Swagger UI's 1.7 MB are read when first asked for, and then kept."""

    def __init__(self, document: dict[str, Any], raw: bytes) -> None:
        """Find the files, and read none.

        Args:
            document: the parsed spec, nothing in it but JSON.
            raw: the spec's bytes.
        """
        own = resources.files(__package__ or __name__)
        swagger_ui = resources.files(mkdocs_swagger_ui_tag) / "swagger-ui"
        style = swagger_ui / "stylesheets" / "swagger-ui.css"
        self._makers: dict[str, tuple[str, Callable[[], bytes]]] = {
            "/docs": (_HTML, (own / "docs.html").read_bytes),
            "/docs/docs.css": (_STYLE, (own / "docs.css").read_bytes),
            "/docs/docs.js": (_SCRIPT, (own / "docs.js").read_bytes),
            "/docs/swagger-ui.css": (_STYLE, style.read_bytes),
            "/docs/swagger-ui-bundle.js": (_SCRIPT, (swagger_ui / "javascripts" / "swagger-ui-bundle.js").read_bytes),
            "/openapi.json": ("application/json", lambda: json.dumps(document, ensure_ascii=False).encode()),
            "/openapi.yaml": ("application/yaml", lambda: raw),
        }
        self._made: dict[str, tuple[str, bytes]] = {}

    def get(self, path: str) -> tuple[str, bytes] | None:
        """Return the content type and the body of a path; None if it is none of these pages."""
        if path not in self._made:
            if path not in self._makers:
                return None
            content_type, make = self._makers[path]
            self._made[path] = (content_type, make())
        return self._made[path]
