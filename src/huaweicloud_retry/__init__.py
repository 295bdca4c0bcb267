"""What is written by hand on top of the generated `huaweicloud_retry_client`: how to authenticate.

with Client(base_url, auth=AkSkAuth(access_key, secret_key)) as client: ...
"""

from typing import TYPE_CHECKING

from .auth import AkSkAuth, PasswordAuth, TokenAuth

if TYPE_CHECKING:
    from .errors import IAMAuthenticationError, IAMError

__all__ = ["AkSkAuth", "IAMAuthenticationError", "IAMError", "PasswordAuth", "TokenAuth"]


def __getattr__(name: str) -> object:
    # At first use only: they load the generated client, which the mock does without.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import errors  # noqa: PLC0415 - see above

    return getattr(errors, name)
