"""The client that calls the operations."""

from huaweicloud_retry.runtime import client as _runtime
from huaweicloud_retry.runtime.client import DEFAULT_TIMEOUT
from huaweicloud_retry.runtime.parameters import path_segment


class Client(_runtime.Client):
    __doc__ = _runtime.Client.__doc__

    user_agent = "huaweicloud-retry/0.1.0"


__all__ = ["DEFAULT_TIMEOUT", "Client", "path_segment"]
