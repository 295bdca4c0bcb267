"""What a process pays before its first call, and what is installed.

Each side runs in an environment that has only what it needs. In the environment of the tests httpx finds trio
and rich, imports them, and spends most of its time on that.
"""

import importlib.metadata
import tempfile
import tomllib
import venv
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from packaging.requirements import Requirement

from tests.benchmarks.measure import (
    ROOT,
    Benchmark,
    Effort,
    Row,
    Samples,
    alternate,
    at_least,
    at_most,
    floor,
    python,
    seconds_of,
    server,
)

SDK, SDK_CSE, SDK_WORKSPACE = "official SDK", "official SDK, CSE", "official SDK, Workspace"
NOTHING = "python -c pass"
IMPORT_HTTPX = "import httpx"
OUR_PACKAGES = (ROOT / "src" / "huaweicloud_retry", ROOT / "generated" / "huaweicloud_retry_client")
SDK_PACKAGES = ("huaweicloudsdkcore", "huaweicloudsdkcse", "huaweicloudsdkworkspace")

OUR_CSE = """
import sys
from huaweicloud_retry import AkSkAuth, connect
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.models import EngineActionRequest
auth = AkSkAuth("mock-ak", "mock-sk", project_id="p")
with connect("cse", endpoint=sys.argv[1], credentials=auth) as client:
    retry_engine.sync("p", "e", client=client, body=EngineActionRequest()).job_id
"""
OUR_WORKSPACE = """
import sys
from huaweicloud_retry import AkSkAuth, connect
from huaweicloud_retry_client.api.workspace import retry_script_execution
from huaweicloud_retry_client.models import RetryScriptExecutionRequest
auth = AkSkAuth("mock-ak", "mock-sk", project_id="p")
with connect("workspace", endpoint=sys.argv[1], credentials=auth) as client:
    retry_script_execution.sync("p", client=client, body=RetryScriptExecutionRequest(record_id="r")).task_id
"""
SDK_CLIENT = """
import sys
from huaweicloudsdkcore.auth.credentials import BasicCredentials
def client(kind):
    built = kind.new_builder().with_credentials(BasicCredentials("mock-ak", "mock-sk", "p"))
    return built.with_endpoints(sys.argv[1:]).build()
"""
THEIR_CSE = f"""{SDK_CLIENT}
from huaweicloudsdkcse.v1 import CseClient, EngineAdditionalActionReq, RetryEngineRequest
request = RetryEngineRequest(engine_id="e", body=EngineAdditionalActionReq(action="Retry"))
client(CseClient).retry_engine(request).job_id
"""
THEIR_WORKSPACE = f"""{SDK_CLIENT}
from huaweicloudsdkworkspace.v2 import RetryScriptExecutionReq, RetryScriptExecutionRequest, WorkspaceClient
request = RetryScriptExecutionRequest(body=RetryScriptExecutionReq(record_id="r"))
client(WorkspaceClient).retry_script_execution(request).task_id
"""


def environment(folder: Path, requirements: Iterable[str], more: Iterable[Path] = ()) -> str:
    """Make an environment of some packages and what they need; return its Python."""
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    entries = {site / path.name: path for path in more}
    for distribution in needed(requirements).values():
        for file in distribution.files or ():
            if file.parts[0] != "..":  # of scripts and manual pages
                entries[site / file.parts[0]] = Path(str(distribution.locate_file(file.parts[0])))
    for link, target in entries.items():
        link.symlink_to(target)
    return str(folder / "bin" / "python")


def needed(requirements: Iterable[str]) -> dict[str, importlib.metadata.Distribution]:
    found: dict[str, importlib.metadata.Distribution] = {}
    left = [*requirements]
    while left:
        requirement = Requirement(left.pop())
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if wanted and requirement.name not in found:
            found[requirement.name] = importlib.metadata.distribution(requirement.name)
            left += found[requirement.name].requires or []
    return found


def ours(folder: Path) -> str:
    """Make the environment that our wheel without extras gives; return its Python."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return environment(folder, project["dependencies"], OUR_PACKAGES)


def process(*command: str) -> Callable[[], float]:
    """Return what measures the milliseconds of a process."""
    return lambda: seconds_of(*command) * 1e3


def first_call(
    service: str, our_code: str, peer: str, their_code: str, package: str, times: float
) -> Benchmark:
    def run(effort: Effort) -> Samples:
        with tempfile.TemporaryDirectory() as folder, server(floor) as url:
            our_python = ours(Path(folder, "ours"))
            their_python = environment(Path(folder, "theirs"), [package])
            sides = {
                "ours": process(our_python, "-c", our_code, url),
                peer: process(their_python, "-c", their_code, url),
                NOTHING: process(our_python, "-c", "pass"),
            }
            return alternate(effort, sides, warm=True)

    name, what = f"first-call-{service.lower()}", f"import, connect and one call, {service}"
    return Benchmark(name, [Row(name, what, "ms", peer, NOTHING, aim=at_least(times))], run)


def importing(effort: Effort) -> Samples:
    with tempfile.TemporaryDirectory() as folder:
        our_python = ours(Path(folder))
        sides = {
            "ours": process(our_python, "-c", "from huaweicloud_retry import connect"),
            "ours, --help": process(our_python, "-m", "huaweicloud_retry", "--help"),
            IMPORT_HTTPX: process(our_python, "-c", IMPORT_HTTPX),
            NOTHING: process(our_python, "-c", "pass"),
        }
        more = effort if effort.smoke else replace(effort, rounds=3 * effort.rounds)
        return alternate(more, sides, warm=True)


def size(_effort: Effort) -> Samples:
    """Add up what is installed: the content of the wheel that `make build` makes, and of the SDK's wheels."""
    with tempfile.TemporaryDirectory() as folder:
        python("-m", "hatchling", "build", "--target", "wheel", "--directory", folder)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            our_files = {file.filename: file.file_size for file in archive.infolist()}
    files = [file for package in SDK_PACKAGES for file in importlib.metadata.files(package) or []]
    return {
        "ours": [sum(our_files.values()) / 1024],
        SDK: [sum(file.size or 0 for file in files) / 1024],
        "ours, modules": [sum(name.endswith(".py") for name in our_files)],
        "official SDK, modules": [sum(file.suffix == ".py" for file in files)],
    }


IMPORT, HELP = "import of connect, fresh process", "hwc-retry --help, fresh process"
MODULES = "installed modules, without dependencies"
SIZE_NOTE = (
    "ours has the mock and the command line in it; the SDK is its core and the packages of CSE and Workspace"
)
BENCHMARKS = [
    first_call("CSE", OUR_CSE, SDK_CSE, THEIR_CSE, "huaweicloudsdkcse", 1.5),
    first_call("Workspace", OUR_WORKSPACE, SDK_WORKSPACE, THEIR_WORKSPACE, "huaweicloudsdkworkspace", 3),
    Benchmark(
        "import",
        [
            Row("import", IMPORT, "ms", IMPORT_HTTPX, NOTHING, aim=at_most(1.15)),
            Row("help", HELP, "ms", IMPORT_HTTPX, NOTHING, "ours, --help", at_most(2.5)),
        ],
        importing,
    ),
    Benchmark(
        "size",
        [
            Row("size", "installed, without dependencies", "KiB", SDK, aim=at_least(10), note=SIZE_NOTE),
            Row("modules", MODULES, "modules", "official SDK, modules", ours="ours, modules"),
        ],
        size,
    ),
]
