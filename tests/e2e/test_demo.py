"""The demo, run as a user runs it."""

import os
import re
import subprocess
import sys

from tests.mocks import ENGINE_ID, RECORD, TASK


def test_the_demo_shows_both_operations_sync_and_async_and_a_refusal() -> None:
    command = [sys.executable, "-W", "error", "-m", "huaweicloud_retry.demo"]
    # A proxy that is not there: what goes to the mock must not go through one.
    environment = {**os.environ, "HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1"}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "mock-token" not in ran.stdout
    engine = rf"  RetryEngine +engine cse-gve7lg \({ENGINE_ID}\): job 18638 runs again\n"
    by_record = rf"  RetryScriptExecution +record {RECORD}: task {TASK} runs again\n"
    by_task = rf"  RetryScriptExecution +task {TASK} runs again\n"
    refusal = r"  BadRequestError: 400 SVCSTG\.00501149: .* \[request id [0-9a-f]{32}\]\n.*\? no; code SVCSTG\.00501149\n"
    shown = rf".*{engine}{by_record}.*/_mock/reset.*{engine}{by_task}.*{refusal}.*"
    assert re.fullmatch(shown, ran.stdout, re.DOTALL), ran.stdout
