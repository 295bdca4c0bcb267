"""`hwc-retry` and `python -m huaweicloud_retry`: the command. Handles Ctrl-C during imports, too."""

import sys


def main() -> int:
    """Run the command; returns the exit code."""
    try:
        from huaweicloud_retry.cli import main as run  # noqa: PLC0415 - Ctrl-C may come while this is imported

        return run()
    except KeyboardInterrupt:
        sys.stderr.write("hwc-retry: interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
