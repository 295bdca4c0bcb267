"""A mock that is attacked: its resident memory stays small, and others are served meanwhile. A process of its own, by sockets."""

import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.mocks import COMMAND, ENGINE, connected, plain_client, send_head

LIMIT = 200  # MiB, the most that was ever resident
SECONDS = 12  # that an attack lasts


@contextmanager
def mock() -> Iterator[tuple[str, int]]:
    """A mock as a process: its URL and its process ID."""
    with subprocess.Popen([*COMMAND, "--port", "0", "--quiet"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            (url,) = re.findall(r"^mock ready at (\S+)", process.stdout.readline())
            yield url, process.pid
        finally:
            process.terminate()


def peak(pid: int) -> float:
    """The most memory that a process ever had resident, in MiB."""
    found = re.search(
        r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(encoding="ascii"), re.MULTILINE
    )
    assert found
    return int(found[1]) / 1024


HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
BODY = f"PUT {ENGINE} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
LARGE = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
# How each begins, and what then comes again and again.
ATTACKS = {
    "headers": (HEAD, b"X: %b\r\n" % (b"a" * 1000)),
    "one header": (HEAD + b"X: ", b"a" * 65536),
    "chunks of a byte": (BODY, b"1\r\na\r\n" * 10_000),
    "responses that nobody reads": (b"", LARGE * 100),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_one_connection_that_never_ends(attack: str) -> None:
    first, rest = ATTACKS[attack]

    def send(url: str) -> None:
        while time.monotonic() < end:  # once more, as soon as the mock has hung up
            with suppress(OSError), connected(url) as sock:
                sock.settimeout(1)
                sock.sendall(first)
                while time.monotonic() < end:
                    sock.sendall(rest)

    with mock() as (url, pid), plain_client(url) as client:
        end = time.monotonic() + SECONDS
        attacker = threading.Thread(target=send, args=(url,))
        attacker.start()
        served = 0
        while attacker.is_alive():
            assert client.get("/_mock/health").status_code == 200
            served += 1
        attacker.join()
        print(f"{attack}: peak {peak(pid):.0f} MiB, {served} served meanwhile")
        assert peak(pid) < LIMIT


def test_a_hundred_unfinished_bodies() -> None:
    size = 12 * 1024 * 1024
    with mock() as (url, pid), plain_client(url) as client, ExitStack() as open_:

        def almost() -> None:
            sock = open_.enter_context(connected(url))
            send_head(sock, "PUT", ENGINE, f"Content-Length: {size}", "Content-Type: application/json")
            with suppress(OSError):
                sock.sendall(b" " * (size - 1))

        senders = [threading.Thread(target=almost) for _ in range(100)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        begin = time.monotonic()
        assert client.get("/_mock/health").status_code == 200
        print(f"bodies: peak {peak(pid):.0f} MiB, health after {time.monotonic() - begin:.3f} s")
        assert peak(pid) < LIMIT


def test_a_large_state_does_not_keep_others_waiting() -> None:
    engines = "".join(
        f"      e{number}: {{name: n, jobs: [{{id: 1, status: Error}}]}}\n" for number in range(8000)
    )
    with mock() as (url, pid), plain_client(url) as client:
        responses: list[httpx.Response] = []

        def replace() -> None:
            with plain_client(url, {"Content-Type": "application/yaml"}) as slow:
                responses.append(
                    slow.put("/_mock/state", content=f"projects:\n  p:\n    engines:\n{engines}")
                )

        writer = threading.Thread(target=replace)
        writer.start()
        served, longest = 0, 0.0
        while writer.is_alive():
            begin = time.monotonic()
            assert client.get("/_mock/health").status_code == 200
            served, longest = served + 1, max(longest, time.monotonic() - begin)
        writer.join()
        print(f"state: peak {peak(pid):.0f} MiB, {served} served meanwhile, the slowest in {longest:.3f} s")
        assert ([response.status_code for response in responses], served > 10) == ([204], True)
        assert peak(pid) < LIMIT
