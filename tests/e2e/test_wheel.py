"""The built wheel, installed in a clean environment outside the checkout, as a user gets it."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest
import yaml

ROOT = Path(__file__).parents[2]

# Runs in the clean environment: imports every module that the base install can carry, and makes one call on a real socket.
USER = """
import http.server, importlib, json, pkgutil, threading
import huaweicloud_retry, huaweicloud_retry_client
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.models import EngineActionRequest

names = [m.name for p in (huaweicloud_retry, huaweicloud_retry_client) for m in pkgutil.walk_packages(p.__path__, p.__name__ + ".")]
needs_extra = tuple(f"huaweicloud_retry.{n}" for n in ("mock.", "contract", "har", "parsing", "demo", "commands.report_table"))
names = [name for name in names if not name.startswith(needs_extra)]
for name in names:
    importlib.import_module(name)

class Answer(http.server.BaseHTTPRequestHandler):
    def do_PUT(self):
        body = json.dumps({"id": self.path.split("/")[5], "name": "n", "jobId": 7}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    auth = huaweicloud_retry.TokenAuth("t")
    with huaweicloud_retry_client.Client(f"http://127.0.0.1:{server.server_port}", auth=auth) as client:
        job = retry_engine.sync("p", "e", client=client, body=EngineActionRequest())
    server.shutdown()
print(len(names), huaweicloud_retry.__file__, job.id, job.job_id, huaweicloud_retry_client.__version__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True
    )
    (built,) = folder.glob("*.whl")
    return built


class CleanEnvironment:
    """A virtual environment of its own, with the versions of requirements-dev.lock and nothing of the checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        lock = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
        self.pins = folder / "pins.txt"  # a wheel of ours has no hash in the lock, so pins without hashes
        self.pins.write_text(
            "\n".join(re.findall(r"^\S+==\S+(?: ;[^\\]*)?", lock, re.MULTILINE)), encoding="utf-8"
        )

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        found = self.folder / "venv/bin" / command
        return subprocess.run(
            [found, *arguments], check=False, cwd=self.folder, capture_output=True, text=True
        )

    def python(self, *arguments: str) -> str:
        ran = self.run("python", *arguments)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def install(self, *requirements: str) -> None:
        """Install as `make` does: by uv or, where it cannot run, by pip."""
        python = str(self.folder / "venv/bin/python")
        uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python]
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            "-qq",
            "--disable-pip-version-check",
        ]
        options = "--constraint", str(self.pins), *requirements
        environment = {**os.environ, "UV_SYSTEM_CERTS": "true"}
        if subprocess.run([*uv, *options], check=False, capture_output=True, env=environment).returncode:
            subprocess.run([*pip, *options], check=True, capture_output=True)

    def packages(self) -> set[str]:
        code = "import importlib.metadata as m; print(*(d.name.replace('-', '_') for d in m.distributions()))"
        return set(self.python("-c", code).split())


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> CleanEnvironment:
    """What a plain installation brings."""
    made = CleanEnvironment(tmp_path_factory.mktemp("base"))
    made.install(str(wheel))
    return made


@pytest.fixture(scope="module")
def with_extras(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> CleanEnvironment:
    made = CleanEnvironment(tmp_path_factory.mktemp("extras"))
    made.install(f"{wheel}[mock]", "pytest")
    return made


def test_holds_both_packages_their_type_markers_the_contract_and_the_licence(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {
        "huaweicloud_retry/py.typed",
        "huaweicloud_retry_client/py.typed",
        "huaweicloud_retry/openapi.yaml",
    } <= set(names)
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {
        "huaweicloud_retry",
        "huaweicloud_retry_client",
    }


def test_only_the_mock_needs_the_docs_page(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    needs = re.findall(
        r"^Requires-Dist: mkdocs-swagger-ui-tag.*; extra == '(.*)'$",
        archive.read(name).decode(),
        re.MULTILINE,
    )
    assert sorted(needs) == ["all", "mock"]


def test_its_version_is_the_specs(wheel: Path) -> None:
    spec = yaml.safe_load((ROOT / "openapi.yaml").read_text(encoding="utf-8"))
    assert wheel.name == f"huaweicloud_retry-{spec['info']['version']}-py3-none-any.whl"


def test_base_install_brings_attrs_httpx_httptools_and_their_own_needs_only(
    wheel: Path, base: CleanEnvironment
) -> None:
    assert base.packages() == {
        "huaweicloud_retry",
        "attrs",
        "httpx",
        "httptools",
        *("anyio", "certifi", "h11", "httpcore", "idna", "typing_extensions"),
    }
    count, origin, engine, job, version = base.python("-W", "error", "-c", USER).split()
    assert int(count) >= 14
    assert Path(origin).is_relative_to(base.folder)
    assert (engine, job) == ("e", "7")
    assert version in wheel.name


@pytest.mark.parametrize(
    ("command", "extra"),
    [(["mock"], "mock"), (["verify", "traffic.har"], "contract"), (["completion", "bash"], "cli")],
)
def test_without_the_extra_a_command_says_what_to_install(
    base: CleanEnvironment, command: list[str], extra: str
) -> None:
    ran = base.run("hwc-retry", *command)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"hwc-retry {command[0]}: No module named ")
    assert ran.stderr.endswith(f"; pip install 'huaweicloud-retry[{extra}]'\n")


def test_with_the_extras_traffic_is_verified_and_the_demo_runs(with_extras: CleanEnvironment) -> None:
    (with_extras.folder / "traffic.har").write_text('{"log": {"entries": []}}', encoding="utf-8")
    ran = with_extras.run("hwc-retry", "verify", "traffic.har")
    assert ran.stderr.endswith("nothing to check: no entry is of the contract, of 0\n")
    assert "18638" in with_extras.python("-W", "error", "-m", "huaweicloud_retry.demo")


def test_the_command_runs_the_mock_with_its_pages(with_extras: CleanEnvironment) -> None:
    command = [str(with_extras.folder / "venv/bin/hwc-retry"), "mock", "--port", "0", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as mock:
        try:
            assert mock.stdout
            ready = re.match(r"mock ready at (http://\S+) ", mock.stdout.readline())
            assert ready
            for path in ("/docs", "/docs/swagger-ui-bundle.js", "/openapi.yaml", "/_mock/state"):
                assert httpx.get(ready[1] + path, trust_env=False).status_code == 200
        finally:
            mock.terminate()
        assert mock.communicate(timeout=60) == ("", "")
    assert mock.returncode == 0


def test_pytest_finds_the_fixture_by_itself(with_extras: CleanEnvironment) -> None:
    page = (ROOT / "docs/mock.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(import pytest\n.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (with_extras.folder / "test_example.py").write_text(example, encoding="utf-8")
    assert "2 passed" in with_extras.python("-m", "pytest", "-q", "-W", "error", "test_example.py")
