"""For tests of your own code: the mock as a pytest fixture, `huaweicloud_mock`, or without pytest as `mock_server()`.

    def test_a_failed_job_is_retried(huaweicloud_mock: Mock) -> None:
        my_code(huaweicloud_mock.cse)
        assert huaweicloud_mock.journal()[-1]["outcome"] == "accepted"

Where the distribution is installed, pytest finds the fixture by itself. Needs the extra `mock`.
"""

from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, Unpack, cast

import httpx

from huaweicloud_retry import TokenAuth, mock
from huaweicloud_retry_client import Client

__all__ = ["Fault", "JournalEntry", "Mock", "mock_server"]


class Fault(TypedDict, total=False):
    """A misbehaviour: one of `close`, `status` and `reply`, or a `delay` alone."""

    operation: str
    """Whose requests it meets, by `operationId`; without it, those of every operation."""
    times: int
    """How many of the next requests it meets; without it, all."""
    share: float
    """The share of the requests that it meets, over 0 and up to 1."""
    delay: float
    """Seconds before anything else."""
    close: Literal["before", "after"]
    """Close the connection without an answer: before acting, or after."""
    status: int
    """Answer this, 300 to 599, instead of acting."""
    example: str
    """The name of the spec's example to answer with that status."""
    retry_after: int | str
    """The `Retry-After` header beside that status."""
    acted: bool
    """Act all the same before that status is answered, as behind a gateway that gave up waiting."""
    reply: Literal["truncated", "garbage", "not-http", "drip"]
    """Act, and then spoil the answer."""
    seconds: float
    """That a drip takes."""


class JournalEntry(TypedDict):
    """A request, and what came of it. Secrets read `***`."""

    number: int
    time: str
    """ISO 8601, in UTC."""
    method: str
    path: str
    query: str
    headers: dict[str, str]
    """Names in small letters."""
    body: Any
    """Parsed JSON; None if there was none."""
    request_id: str
    operation: str | None
    """The `operationId`; None if the spec has nothing at that path."""
    outcome: Literal["accepted", "refused", "example", "unanswered"]
    acted: bool
    """Something was run: sending the same again could run it a second time."""
    status: int | None
    """None if no answer was sent."""
    error_code: str | None
    fault: Fault | None


class Mock:
    """A running mock, seen from a test. Close it, or use it in a `with` block.

    Args:
        url: where it runs; one started by `make mock` will do as well.

    Attributes:
        url: the base URL, the same for both services.
        cse: a ready client, with the mock's token. In asynchronous tests: `async with mock.cse as client:`.
        workspace: another.
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
        """Close the connections of this object; the mock runs on."""
        for each in (self.cse, self.workspace, self._admin):
            each.close()

    def reset(self) -> None:
        """Go back to the start: state, clock, faults, journal."""
        self._ask("POST", "reset")

    def journal(self) -> list[JournalEntry]:
        """Return the last requests, at most 10,000, the newest at the end."""
        return cast("list[JournalEntry]", self._ask("GET", "journal").json()["entries"])

    def state(self) -> dict[str, Any]:
        """Return all projects: engines with the status of their jobs, script tasks with that of their records."""
        return cast("dict[str, Any]", self._ask("GET", "state").json())

    def set_state(self, state: str | Path) -> None:
        """Replace all of it until the next reset.

        Args:
            state: YAML as in the mock's `state.yaml`, or a file of it.

        Raises:
            ValueError: it will not do; the text says where and why.
        """
        content = state.read_bytes() if isinstance(state, Path) else state.encode()
        self._ask("PUT", "state", content=content, headers={"Content-Type": "application/yaml"})

    def add_fault(self, **fault: Unpack[Fault]) -> None:
        """Misbehave from the next request on, such as `add_fault(status=429, retry_after=2, times=1)`.

        Raises:
            ValueError: it will not do; the text says where and why.
        """
        self._ask("POST", "faults", json=fault)

    def clear_faults(self) -> None:
        """Behave again."""
        self._ask("DELETE", "faults")

    def advance(self, seconds: float) -> None:
        """Put the mock's clock forward, so that jobs finish and tokens expire; signatures are held to the real time."""
        self._ask("POST", "clock", json={"advance": seconds})

    def _ask(self, method: str, page: str, **content: Any) -> httpx.Response:
        answer = self._admin.request(method, page, **content)
        if answer.is_error:
            raise ValueError(answer.json()["error_msg"])
        return answer


@contextmanager
def mock_server(state: Path | None = None) -> Generator[Mock, None, None]:
    """Run a mock of its own on a free port as long as the block lasts.

        with mock_server() as mock: ...

    Args:
        state: a state file; by default the built-in state.
    """
    with mock.running(state=state) as url, Mock(url) as seen:
        yield seen


if find_spec("pytest"):  # not needed for the rest
    import pytest

    @pytest.fixture(scope="session")
    def huaweicloud_mock_url() -> Generator[str, None, None]:
        """The URL of a mock that runs as long as the session."""
        with mock.running() as url:
            yield url

    @pytest.fixture
    def huaweicloud_mock(huaweicloud_mock_url: str) -> Generator[Mock, None, None]:
        """A mock as it is when it starts, whatever other tests did to it."""
        with Mock(huaweicloud_mock_url) as seen:
            seen.reset()
            yield seen
