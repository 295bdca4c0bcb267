"""What is written by hand on top of the generated `huaweicloud_retry_client`: how to authenticate.

with Client(base_url, auth=AkSkAuth(access_key, secret_key)) as client: ...
"""

from .auth import AkSkAuth, TokenAuth

__all__ = ["AkSkAuth", "TokenAuth"]
