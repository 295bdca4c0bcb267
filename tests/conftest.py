"""What holds for all tests."""

import gc
import signal
from collections.abc import Iterator

import pytest

from huaweicloud_retry.testing import Mock, mock_server

# A job in the background of a shell ignores Ctrl-C, and so would the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Exclude what was imported from garbage collection: to traverse it takes up to half a second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_mock() -> Iterator[Mock]:
    """One for all tests of a worker."""
    with mock_server() as mock:
        yield mock


@pytest.fixture
def mock(shared_mock: Mock) -> Mock:
    """A mock in its initial state."""
    shared_mock.reset()
    return shared_mock
