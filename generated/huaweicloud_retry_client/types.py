"""Types that the operations and models share."""

from huaweicloud_retry.runtime.models import UNSET, Discriminator, Model, OpenModel, Unset, load_json, short_repr
from huaweicloud_retry.runtime.parameters import File
from huaweicloud_retry.runtime.response import Response

__all__ = ["UNSET", "Discriminator", "File", "Model", "OpenModel", "Response", "Unset", "load_json", "short_repr"]
