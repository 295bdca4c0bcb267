"""The built wheel, installed in a clean environment outside the checkout, as a user gets it."""

import importlib.metadata
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement

from huaweicloud_retry_client import __version__

ROOT = Path(__file__).parents[2]

# Imports every module that the base install can carry, and makes one call on a real socket.
USER = """
import http.server, importlib, json, pkgutil, threading
import huaweicloud_retry, huaweicloud_retry_client
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.models import EngineActionRequest

packages = huaweicloud_retry, huaweicloud_retry_client
names = [m.name for p in packages for m in pkgutil.walk_packages(p.__path__, p.__name__ + ".")]
extra = "mock.", "contract", "har", "parsing", "demo", "commands.report_table"
needs_extra = tuple(f"huaweicloud_retry.{n}" for n in extra)
names = [name for name in names if not name.startswith(needs_extra)]
for name in names:
    importlib.import_module(name)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_PUT(self):
        body = json.dumps({"id": self.path.split("/")[5], "name": "n", "jobId": 7}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
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
    """A virtual environment outside the checkout. A folder next to it, `extras`, may have further packages.

    Packages are links to those of the tests: no index is asked, and nothing is compiled again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.extras = folder, folder / "extras"
        self.extras.mkdir()
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        self.site = Path(self.run("python", "-c", code).stdout.strip())

    def install(self, requirement: str, folder: Path | None = None) -> None:
        """Install our wheel, such as `dist/x.whl[mock]`, or another package, with what it requires."""
        wheel, is_ours, extra = requirement.partition(".whl")
        if is_ours:  # as `make` does: by uv or, where it cannot run, by pip
            python, options = (
                str(self.folder / "venv/bin/python"),
                ("--no-deps", "--no-index", f"{wheel}.whl"),
            )
            uv = [sys.executable, "-m", "uv", "pip", "install", "--offline", "--python", python, *options]
            pip = [sys.executable, "-m", "pip", "--python", python, "install", "-qq", *options]
            if subprocess.run(uv, check=False, capture_output=True).returncode:
                subprocess.run(pip, check=True, capture_output=True)
            requirement = f"huaweicloud-retry{extra}"
        self.link(Requirement(requirement), folder or self.site)

    def link(self, requirement: Requirement, folder: Path) -> None:
        """Link a package and what it requires."""
        paths = [str(self.site), *sys.path]
        found = next(iter(importlib.metadata.distributions(name=requirement.name, path=paths)))
        assert requirement.specifier.contains(found.version), f"{requirement}: {found.version} is installed"
        for name in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            if not any((where / name).exists() for where in (self.site, folder)):
                (folder / name).symlink_to(str(found.locate_file(name)))
        for line in found.requires or ():
            other = Requirement(line)
            extras = "", *requirement.extras
            if not other.marker or any(other.marker.evaluate({"extra": extra}) for extra in extras):
                self.link(other, folder)

    def run(self, command: str, *arguments: str, extras: str = "") -> subprocess.CompletedProcess[str]:
        found = [str(self.folder / "venv/bin" / command), *arguments]
        env = {**os.environ, "PYTHONPATH": extras}
        return subprocess.run(found, check=False, cwd=self.folder, capture_output=True, text=True, env=env)


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> CleanEnvironment:
    """The base install, and next to it what the extra [mock] and a test need."""
    made = CleanEnvironment(tmp_path_factory.mktemp("clean"))
    made.install(str(wheel))
    made.install("huaweicloud-retry[mock]", made.extras)
    made.install("pytest", made.extras)
    return made


def test_holds_both_packages_their_type_markers_the_contract_and_the_licence(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    names = set(archive.namelist())
    ours, client = "huaweicloud_retry", "huaweicloud_retry_client"
    assert {f"{ours}/py.typed", f"{client}/py.typed", f"{ours}/openapi.yaml"} <= names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {ours, client}
    (metadata,) = (archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
    needs = r"(?m)^Requires-Dist: mkdocs-swagger-ui-tag.*; extra == '(.*)'$"
    assert sorted(re.findall(needs, metadata)) == ["all", "mock"]  # only the mock needs the docs page
    assert wheel.name == f"huaweicloud_retry-{__version__}-py3-none-any.whl"


def test_the_base_install_brings_attrs_httpx_httptools_and_their_own_needs_only(
    clean: CleanEnvironment,
) -> None:
    needs = {"anyio", "certifi", "h11", "httpcore", "idna", "typing_extensions"}
    brought = importlib.metadata.distributions(path=[str(clean.site)])
    expected = {"huaweicloud_retry", "attrs", "httpx", "httptools", *needs}
    assert {each.name.replace("-", "_") for each in brought} == expected
    ran = clean.run("python", "-W", "error", "-c", USER)
    assert ran.stderr == ""
    count, origin, *called = ran.stdout.split()
    assert int(count) >= 14
    assert Path(origin).is_relative_to(clean.folder)
    assert called == ["e", "7", __version__]


@pytest.mark.parametrize(
    ("line", "extra"), [("mock", "mock"), ("verify traffic.har", "contract"), ("completion bash", "cli")]
)
def test_without_the_extra_a_command_says_what_to_install(
    clean: CleanEnvironment, line: str, extra: str
) -> None:
    ran = clean.run("hwc-retry", *line.split())
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"hwc-retry {line.split(maxsplit=1)[0]}: ")
    assert ran.stderr.endswith(f"; pip install 'huaweicloud-retry[{extra}]'\n")


def test_with_the_extras_traffic_is_verified_and_the_mock_runs_with_its_pages(
    clean: CleanEnvironment,
) -> None:
    (clean.folder / "traffic.har").write_text('{"log": {"entries": []}}', encoding="utf-8")
    verified = clean.run("hwc-retry", "verify", "traffic.har", extras=str(clean.extras))
    assert "nothing to check" in verified.stderr
    command = [str(clean.folder / "venv/bin/hwc-retry"), "mock", "--port", "0", "--quiet"]
    env = {**os.environ, "PYTHONPATH": str(clean.extras)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as mock:
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


def test_pytest_finds_the_fixture_by_itself(clean: CleanEnvironment) -> None:
    page = (ROOT / "docs/mock.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(import pytest\n.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (clean.folder / "test_example.py").write_text(example, encoding="utf-8")
    arguments = "-m", "pytest", "-q", "-W", "error", "test_example.py"
    assert "2 passed" in clean.run("python", *arguments, extras=str(clean.extras)).stdout
