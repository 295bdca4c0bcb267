"""The demo, run as a user runs it."""

import os
import re
import subprocess
import sys

ENGINE = "4a1bc63d-4719-4bd3-b1ad-5ee590b05e87"
RECORD = "0000000059071dbc01591661d3990020"
TASK = "0000000059071dbc01591661d3990019"


def test_the_demo_shows_both_operations_both_ways_and_a_refusal() -> None:
    command = [sys.executable, "-W", "error", "-m", "huaweicloud_retry.demo"]
    # A proxy that is not there: what goes to the mock must not go through one.
    environment = {**os.environ, "HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1"}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30, env=environment)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "mock-token" not in ran.stdout
    shown = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", re.sub(r"[0-9a-f]{32}(?=\])", "ID", ran.stdout))
    assert (
        shown
        == f"""\
The mock replaces both services at http://127.0.0.1:PORT.

Sync, one after the other:
  RetryEngine           engine cse-gve7lg ({ENGINE}): job 18638 runs again
  RetryScriptExecution  record {RECORD}: task {TASK} runs again

POST /_mock/reset: the job and the record have failed again.

Async, both at the same time:
  RetryEngine           engine cse-gve7lg ({ENGINE}): job 18638 runs again
  RetryScriptExecution  task {TASK} runs again

The same engine again, whose job is running:
  BadRequestError: 400 SVCSTG.00501149: The engine has no failed job to retry: job 18638 is Executing. (engine_id) [request id ID]
  did it go through? no; code SVCSTG.00501149

The mock is stopped.
"""
    )
