"""The mock for your tests: the pytest fixture `huaweicloud_mock`, or `mock_server()` without pytest.

    def test_a_failed_job_is_retried(huaweicloud_mock: Mock) -> None:
        my_code(huaweicloud_mock.cse)
        assert huaweicloud_mock.request_log()[-1]["outcome"] == "accepted"

pytest finds the fixture when the package is installed. It needs the extra `mock`.
"""

from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, Unpack, cast

import httpx

from huaweicloud_retry import TokenAuth, mock
from huaweicloud_retry_client import Client

__all__ = ["Fault", "LoggedRequest", "Mock", "mock_server"]


class Fault(TypedDict, total=False):
    """An injected fault: one of `close`, `status` and `reply`, or only a `delay`."""

    operation: str
    """The `operationId` of the requests it applies to; default: every operation."""
    times: int
    """How many of the next requests it applies to; default: all."""
    share: float
    """The probability that it applies to a request, above 0 and up to 1."""
    delay: float
    """Seconds before anything else."""
    close: Literal["before", "after"]
    """Close the connection without a response, before or after processing."""
    status: int
    """Send this status, 300 to 599, instead of processing the request."""
    example: str
    """The name of the spec's example to send with that status."""
    retry_after: int | str
    """The `Retry-After` header to send with that status."""
    acted: bool
    """Process the request, then send that status, like a gateway that timed out."""
    reply: Literal["truncated", "garbage", "not-http", "drip"]
    """Process the request, then spoil the response."""
    seconds: float
    """The duration of a drip."""


class LoggedRequest(TypedDict):
    """A request to the mock, and how it ended. Secrets are masked with `***`."""

    number: int
    time: str
    """ISO 8601, in UTC."""
    method: str
    path: str
    query: str
    headers: dict[str, str]
    """Names in lower case."""
    body: Any
    """Parsed JSON; None if there was none."""
    request_id: str
    operation: str | None
    """The `operationId`; None if the spec does not have the path."""
    outcome: Literal["accepted", "refused", "example", "read", "unanswered"]
    acted: bool
    """Something was run: resending the request could run it twice."""
    status: int | None
    """None: no response was sent."""
    error_code: str | None
    fault: Fault | None


class Mock:
    """Controls a running mock from a test. Close it, or use it in a `with` block.

    Args:
        url: The base URL of the mock, such as one started by `make mock`.

    Attributes:
        url: The base URL, the same for both services.
        cse: A client with the mock's token. In async tests: `async with mock.cse as client:`.
        workspace: The same for Workspace.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.cse = Client(url, auth=TokenAuth("mock-token"))
        self.workspace = Client(url, auth=TokenAuth("mock-token"))
        self._admin = httpx.Client(base_url=f"{url}/_mock/", trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections of this object; the mock keeps running."""
        for each in (self.cse, self.workspace, self._admin):
            each.close()

    def reset(self) -> None:
        """Restore the initial state, clock and faults, and clear the request log."""
        self._ask("POST", "reset")

    def request_log(self) -> list[LoggedRequest]:
        """Return the last requests, at most 10,000, the newest at the end."""
        return cast("list[LoggedRequest]", self._ask("GET", "request-log").json()["entries"])

    def state(self) -> dict[str, Any]:
        """Return all projects, with the statuses of jobs and records."""
        return cast("dict[str, Any]", self._ask("GET", "state").json())

    def set_state(self, state: str | Path) -> None:
        """Replace the state until the next reset.

        Args:
            state: YAML in the format of the mock's `state.yaml`, or a file of it.

        Raises:
            ValueError: It is invalid; the message explains where and why.
        """
        content = state.read_bytes() if isinstance(state, Path) else state.encode()
        self._ask("PUT", "state", content=content, headers={"Content-Type": "application/yaml"})

    def add_fault(self, **fault: Unpack[Fault]) -> None:
        """Inject a fault, such as `add_fault(status=429, retry_after=2, times=1)`.

        Raises:
            ValueError: It is invalid; the message explains where and why.
        """
        self._ask("POST", "faults", json=fault)

    def clear_faults(self) -> None:
        """Remove all faults."""
        self._ask("DELETE", "faults")

    def advance(self, seconds: float) -> None:
        """Advance the mock's clock, to end jobs and tokens. Signatures are checked by the real time."""
        self._ask("POST", "clock", json={"advance": seconds})

    def _ask(self, method: str, endpoint: str, **content: Any) -> httpx.Response:
        response = self._admin.request(method, endpoint, **content)
        if response.is_error:
            raise ValueError(response.json()["error_msg"])
        return response


@contextmanager
def mock_server(state: Path | None = None) -> Generator[Mock, None, None]:
    """Run a new mock on a free port during the block.

        with mock_server() as mock: ...

    Args:
        state: A state file; default: the built-in state.
    """
    with mock.running(state=state) as url, Mock(url) as controls:
        yield controls


if find_spec("pytest"):  # mock_server() works without it
    import pytest

    @pytest.fixture(scope="session")
    def huaweicloud_mock_url() -> Generator[str, None, None]:
        """The URL of one mock for the whole session."""
        with mock.running() as url:
            yield url

    @pytest.fixture
    def huaweicloud_mock(huaweicloud_mock_url: str) -> Generator[Mock, None, None]:
        """A mock in its initial state."""
        with Mock(huaweicloud_mock_url) as controls:
            controls.reset()
            yield controls
