"""Types that the operations and models share."""

from huaweicloud_retry.runtime.response import (
    UNSET,
    File,
    FileTypes,
    RequestFiles,
    Response,
    Unset,
    check_type,
    load_json,
    short_repr,
)

__all__ = ["UNSET", "File", "FileTypes", "RequestFiles", "Response", "Unset", "check_type", "load_json", "short_repr"]
