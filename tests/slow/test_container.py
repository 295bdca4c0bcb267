"""examples/mock: what its Dockerfile says, run step by step in a virtual environment, for want of a registry of images."""

import json
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.e2e.test_wheel import CleanEnvironment
from tests.mocks import ENGINE, RETRY, plain_client

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples/mock"
STEPS = re.findall(r"^([A-Z]+) (.*)$", (FOLDER / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)


def steps(kind: str) -> list[str]:
    return [what for name, what in STEPS if name == kind]


def test_it_does_not_run_as_root() -> None:
    assert steps("USER") == ["10001"]
    assert "useradd --system --uid 10001 mock" in steps("RUN")
    assert [name for name, _ in STEPS].index("USER") < [name for name, _ in STEPS].index("ENTRYPOINT")


def test_it_copies_nothing_that_is_not_there() -> None:
    for step in steps("COPY"):
        if not step.startswith("--from"):
            assert all((ROOT / name).exists() for name in step.split()[:-1]), step


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> CleanEnvironment:
    """The environment that its steps make."""
    made = CleanEnvironment(tmp_path_factory.mktemp("image"))
    checkout, dist = made.folder / "checkout", made.folder / "dist"
    checkout.mkdir()
    for step in steps("COPY"):
        if not step.startswith("--from"):
            for name in step.split()[:-1]:
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                copy(ROOT / name, checkout / name)
    for step in steps("RUN"):
        if step.startswith("useradd"):
            continue  # changes the machine
        here = step.replace("/dist", str(dist))
        if here.startswith("pip install --no-cache-dir "):
            expanded = subprocess.run(
                ["sh", "-c", f"echo {here}"], capture_output=True, text=True, check=True
            ).stdout
            made.install(expanded.split()[3])
        else:
            assert here.startswith("python ")
            path = f"{made.folder / 'venv/bin'}{os.pathsep}{os.environ['PATH']}"
            subprocess.run(["sh", "-ec", here], cwd=checkout, env={**os.environ, "PATH": path}, check=True)
    return made


def command(text: str) -> list[str]:
    found: list[str] = json.loads(text)
    return found


@pytest.mark.parametrize("options", [[], ["--admin", "--allow-host", "mock"]], ids=["docker run", "compose"])
def test_it_starts_is_healthy_and_the_test_of_compose_passes(
    image: CleanEnvironment, options: list[str]
) -> None:
    compose: Any = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
    mock, test = compose["services"]["mock"], compose["services"]["test"]
    assert options in ([], mock["command"])
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    name, *arguments = command(*steps("ENTRYPOINT"))
    started = [str(image.folder / "venv/bin" / name), *arguments, *options, "--quiet", "--port", str(port)]
    with subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline().startswith(f"mock ready at http://0.0.0.0:{port} ")
            (check,) = steps("HEALTHCHECK")
            ran = image.run(
                *[part.replace("8000", str(port)) for part in command(check.partition(" CMD ")[2])]
            )
            assert (ran.returncode, ran.stderr) == (0, "")
            with plain_client(f"http://127.0.0.1:{port}") as client:
                assert client.put(ENGINE, json=RETRY).status_code == 200
                assert client.get("/docs", headers={"Host": "mock:8000"}).status_code == (
                    200 if options else 403
                )
            if options:
                assert test["entrypoint"] == ["python", "-c"]
                code = test["command"][0].replace("http://mock:8000", f"http://127.0.0.1:{port}")
                assert image.run("python", "-W", "error", "-c", code).stdout == "job 18638 runs again\n"
        finally:
            process.terminate()
        assert process.communicate(timeout=60)[1].startswith("warning: ")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}", trust_env=False)
