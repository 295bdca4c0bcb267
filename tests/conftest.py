"""What holds for all tests."""

import gc
import logging
import signal
import warnings
from collections.abc import Callable, Iterator

import pytest

from huaweicloud_retry.testing import Mock, mock_server
from tests.callers import Caller
from tests.connections import Mode
from tests.leaks import CANARY, Check, leaks

# A job in the background of a shell ignores Ctrl-C, and so would the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Exclude what was imported from garbage collection: to traverse it takes up to half a second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", params=["sync", "asyncio"])
def caller(request: pytest.FixtureRequest) -> Caller:
    return Caller(request.param)


@pytest.fixture(params=["sync", "asyncio"])
def mode(request: pytest.FixtureRequest) -> Iterator[Mode]:
    """Calls that leave the client open, in one event loop."""
    made = Mode(request.param)
    with made.runner:
        yield made


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


@pytest.fixture
def check(caplog: pytest.LogCaptureFixture) -> Check:
    """Do what must fail, look for secrets in whatever it leaves, and return the error."""
    caplog.set_level(logging.DEBUG)

    def look(fail: Callable[[], object], secrets: set[str] | None = None) -> BaseException:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            with pytest.raises(Exception) as caught:  # noqa: PT011 - any
                fail()
        found = leaks(caught.value, secrets or {CANARY}, caplog, warned)
        assert not found, "\n".join(found)
        return caught.value

    return look
