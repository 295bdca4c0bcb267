"""What a process pays before its first call, and a machine before its first process."""

import importlib.metadata
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

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
    module="cse", operation="retry_engine", body="EngineActionRequest", arguments='"p", "e"', fields="", answer="job_id"
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


def process(*arguments: str) -> Callable[[], float]:
    """Return what measures the milliseconds of a Python process."""
    return lambda: seconds_of(sys.executable, *arguments) * 1e3


def first_call(ours: str, peer: str, theirs: str) -> Callable[[Effort], Samples]:
    def run(effort: Effort) -> Samples:
        with server(floor) as url:
            sides = {"ours": process("-c", ours, url), peer: process("-c", theirs, url), NOTHING: process("-c", "pass")}
            return alternate(effort, sides, warm=True)

    return run


def importing(effort: Effort) -> Samples:
    sides = {
        "ours": process("-c", "from huaweicloud_retry import connect"),
        "ours, --help": process("-m", "huaweicloud_retry", "--help"),
        IMPORT_HTTPX: process("-c", IMPORT_HTTPX),
        NOTHING: process("-c", "pass"),
    }
    return alternate(replace(effort, rounds=effort.rounds if effort.smoke else effort.rounds * 3), sides, warm=True)


def size(_effort: Effort) -> Samples:
    """Add up what is installed: the content of the wheel that `make build` makes, and what the SDK's wheels had."""
    with tempfile.TemporaryDirectory() as folder:
        python("-m", "hatchling", "build", "--target", "wheel", "--directory", folder)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            ours = {file.filename: file.file_size for file in archive.infolist()}
    theirs = {str(file): file.size or 0 for package in SDK_PACKAGES for file in importlib.metadata.files(package) or []}
    return {
        "ours": [sum(ours.values()) / 1024],
        SDK: [sum(theirs.values()) / 1024],
        "ours, modules": [sum(name.endswith(".py") for name in ours)],
        "official SDK, modules": [sum(name.endswith(".py") for name in theirs)],
    }


BENCHMARKS = [
    Benchmark(
        "first-call-cse",
        [Row("first-call-cse", "import, connect and one call, CSE", "ms", SDK_CSE, NOTHING, aim=at_least(1.5))],
        first_call(OUR_CSE, SDK_CSE, THEIR_CSE),
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
        first_call(OUR_WORKSPACE, SDK_WORKSPACE, THEIR_WORKSPACE),
    ),
    Benchmark(
        "import",
        [
            Row("import", "import of connect, fresh process", "ms", IMPORT_HTTPX, NOTHING, aim=at_most(1.15)),
            Row("help", "hwc-retry --help, fresh process", "ms", IMPORT_HTTPX, NOTHING, ours="ours, --help"),
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
