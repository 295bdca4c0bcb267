"""What is written by hand on top of the generated `huaweicloud_retry_client`: how to authenticate.

with Client(base_url, auth=TokenAuth(token)) as client: ...
"""

from .auth import TokenAuth

__all__ = ["TokenAuth"]
