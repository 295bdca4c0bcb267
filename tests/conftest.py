"""What holds for all tests."""

import gc
import signal

# A job in the background of a shell ignores Ctrl-C, and so would the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Exclude what was imported from garbage collection: to traverse it takes up to half a second each time."""
    gc.collect()
    gc.freeze()
