"""What a process pays before its first call, and a machine before its first process.

Each side in an environment of its own, which has nothing but what it needs.
"""

import importlib.metadata
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.benchmarks import environments
from tests.benchmarks.measure import (
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

SDK_CSE, SDK_WORKSPACE = "official SDK, CSE", "official SDK, Workspace"
NOTHING = "python -c pass"
IMPORT_HTTPX = "import httpx"
SDK_PACKAGES = ("huaweicloudsdkcore", "huaweicloudsdkcse", "huaweicloudsdkworkspace")
SDK = "official SDK"

OURS = """
import sys
from huaweicloud_retry import AkSkAuth, connect
from huaweicloud_retry_client.api.{module} import {operation}
from huaweicloud_retry_client.models import {body}
with connect("{module}", endpoint=sys.argv[1], credentials=AkSkAuth("mock-ak", "mock-sk", project_id="p")) as client:
    {operation}.sync({arguments}, client=client, body={body}({fields})).{answer}
"""
OUR_CSE = OURS.format(
    module="cse",
    operation="retry_engine",
    body="EngineActionRequest",
    arguments='"p", "e"',
    fields="",
    answer="job_id",
)
OUR_WORKSPACE = OURS.format(
    module="workspace",
    operation="retry_script_execution",
    body="RetryScriptExecutionRequest",
    arguments='"p"',
    fields='record_id="r"',
    answer="task_id",
)
THEIRS = """
import sys
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from {package} import {client}, {request}, {body}
client = {client}.new_builder().with_credentials(BasicCredentials("mock-ak", "mock-sk", "p")).with_endpoints(sys.argv[1:])
client.build().{operation}({request}({arguments}body={body}({fields}))).{answer}
"""
THEIR_CSE = THEIRS.format(
    package="huaweicloudsdkcse.v1",
    client="CseClient",
    operation="retry_engine",
    request="RetryEngineRequest",
    arguments='engine_id="e", ',
    body="EngineAdditionalActionReq",
    fields='action="Retry"',
    answer="job_id",
)
THEIR_WORKSPACE = THEIRS.format(
    package="huaweicloudsdkworkspace.v2",
    client="WorkspaceClient",
    operation="retry_script_execution",
    request="RetryScriptExecutionRequest",
    arguments="",
    body="RetryScriptExecutionReq",
    fields='record_id="r"',
    answer="task_id",
)


def process(*command: str) -> Callable[[], float]:
    """Return what measures the milliseconds of a process."""
    return lambda: seconds_of(*command) * 1e3


def first_call(ours: str, peer: str, theirs: str, package: str) -> Callable[[Effort], Samples]:
    def run(effort: Effort) -> Samples:
        with tempfile.TemporaryDirectory() as folder, server(floor) as url:
            our_python = environments.ours(Path(folder, "ours"))
            sides = {
                "ours": process(our_python, "-c", ours, url),
                peer: process(environments.of(Path(folder, "theirs"), package), "-c", theirs, url),
                NOTHING: process(our_python, "-c", "pass"),
            }
            return alternate(effort, sides, warm=True)

    return run


def importing(effort: Effort) -> Samples:
    with tempfile.TemporaryDirectory() as folder:
        python = environments.ours(Path(folder))
        sides = {
            "ours": process(python, "-c", "from huaweicloud_retry import connect"),
            "ours, --help": process(python, "-m", "huaweicloud_retry", "--help"),
            IMPORT_HTTPX: process(python, "-c", IMPORT_HTTPX),
            NOTHING: process(python, "-c", "pass"),
        }
        more = effort if effort.smoke else replace(effort, rounds=3 * effort.rounds)
        return alternate(more, sides, warm=True)


def size(_effort: Effort) -> Samples:
    """Add up what is installed: the content of the wheel that `make build` makes, and what the SDK's wheels had."""
    with tempfile.TemporaryDirectory() as folder:
        python("-m", "hatchling", "build", "--target", "wheel", "--directory", folder)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            ours = {file.filename: file.file_size for file in archive.infolist()}
    theirs = {
        str(file): file.size or 0
        for package in SDK_PACKAGES
        for file in importlib.metadata.files(package) or []
    }
    return {
        "ours": [sum(ours.values()) / 1024],
        SDK: [sum(theirs.values()) / 1024],
        "ours, modules": [sum(name.endswith(".py") for name in ours)],
        "official SDK, modules": [sum(name.endswith(".py") for name in theirs)],
    }


BENCHMARKS = [
    Benchmark(
        "first-call-cse",
        [
            Row(
                "first-call-cse",
                "import, connect and one call, CSE",
                "ms",
                SDK_CSE,
                NOTHING,
                aim=at_least(1.5),
            )
        ],
        first_call(OUR_CSE, SDK_CSE, THEIR_CSE, "huaweicloudsdkcse"),
    ),
    Benchmark(
        "first-call-workspace",
        [
            Row(
                "first-call-workspace",
                "import, connect and one call, Workspace",
                "ms",
                SDK_WORKSPACE,
                NOTHING,
                aim=at_least(3),
            )
        ],
        first_call(OUR_WORKSPACE, SDK_WORKSPACE, THEIR_WORKSPACE, "huaweicloudsdkworkspace"),
    ),
    Benchmark(
        "import",
        [
            Row("import", "import of connect, fresh process", "ms", IMPORT_HTTPX, NOTHING, aim=at_most(1.15)),
            Row(
                "help",
                "hwc-retry --help, fresh process",
                "ms",
                IMPORT_HTTPX,
                NOTHING,
                ours="ours, --help",
                aim=at_most(2.5),
            ),
        ],
        importing,
    ),
    Benchmark(
        "size",
        [
            Row(
                "size",
                "installed, without dependencies",
                "KiB",
                SDK,
                aim=at_least(10),
                note="ours has the mock and the command line in it; the SDK is its core and the packages of CSE and Workspace",
            ),
            Row(
                "modules",
                "installed modules, without dependencies",
                "modules",
                "official SDK, modules",
                ours="ours, modules",
            ),
        ],
        size,
    ),
]
