"""What is written by hand on top of the generated `huaweicloud_retry_client`: connecting, and authentication.

with connect("cse", region="cn-north-4") as client: ...
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .auth import AkSkAuth, PasswordAuth, TokenAuth
    from .connection import Connection, connect
    from .errors import APIRequestValidationError, ConfigurationError, IAMAuthenticationError, IAMError
    from .resend import Resend

__all__ = [
    "APIRequestValidationError",
    "AkSkAuth",
    "ConfigurationError",
    "Connection",
    "IAMAuthenticationError",
    "IAMError",
    "PasswordAuth",
    "Resend",
    "TokenAuth",
    "connect",
]

_HOMES = {
    "auth": ("AkSkAuth", "PasswordAuth", "TokenAuth"),
    "connection": ("Connection", "connect"),
    "errors": ("APIRequestValidationError", "ConfigurationError", "IAMAuthenticationError", "IAMError"),
    "resend": ("Resend",),
}


def __getattr__(name: str) -> object:
    # At first use only: the mock and the contract live in this package too, and need neither httpx nor the client.
    for module, names in _HOMES.items():
        if name in names:
            found: object = getattr(import_module(f".{module}", __name__), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
