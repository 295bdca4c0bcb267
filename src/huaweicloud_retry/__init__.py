"""The hand-written part on top of the generated `huaweicloud_retry_client`: connecting and authentication.

with connect("cse", region="cn-north-4") as client: ...
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from huaweicloud_retry_client import __version__

    from .auth import AkSkAuth, PasswordAuth, TokenAuth
    from .connection import connect
    from .runtime.errors import (
        APIConnectionError,
        APIError,
        APIRequestValidationError,
        APIResponseValidationError,
        APIStatusError,
        APITimeoutError,
        AuthenticationError,
        BadRequestError,
        ConfigurationError,
        IAMAuthenticationError,
        IAMError,
        InternalServerError,
        MethodNotAllowedError,
        NotFoundError,
        PermissionDeniedError,
        RateLimitError,
    )
    from .runtime.resend import Resend

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIRequestValidationError",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "AkSkAuth",
    "AuthenticationError",
    "BadRequestError",
    "ConfigurationError",
    "IAMAuthenticationError",
    "IAMError",
    "InternalServerError",
    "MethodNotAllowedError",
    "NotFoundError",
    "PasswordAuth",
    "PermissionDeniedError",
    "RateLimitError",
    "Resend",
    "TokenAuth",
    "__version__",
    "connect",
]

_HOMES = {
    "AkSkAuth": ".auth",
    "PasswordAuth": ".auth",
    "TokenAuth": ".auth",
    "connect": ".connection",
    "Resend": ".runtime.resend",
    "__version__": "huaweicloud_retry_client",
}


def __getattr__(name: str) -> object:
    # Imports at first use: the mock and the contract in this package need neither httpx nor the client.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(_HOMES.get(name, ".runtime.errors"), __name__), name)
    globals()[name] = found
    return found
