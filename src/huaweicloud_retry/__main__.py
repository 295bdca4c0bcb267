"""`python -m huaweicloud_retry`: the command `hwc-retry`, where it is not installed."""

import sys

from huaweicloud_retry.cli import main

if __name__ == "__main__":
    sys.exit(main())
