"""What is written by hand on top of the generated `huaweicloud_retry_client`: connecting, and authentication.

with connect("cse", region="cn-north-4") as client: ...
"""

from .auth import AkSkAuth, PasswordAuth, TokenAuth
from .connection import Connection, connect
from .errors import ConfigurationError, IAMAuthenticationError, IAMError
from .resend import Resend

__all__ = [
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
