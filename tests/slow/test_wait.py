"""`hwc-retry … --wait` on a retry whose request was lost: the service may begin with it for half a minute, and that long it waits."""

import json
import subprocess
import sys
from pathlib import Path

from huaweicloud_retry.testing import mock_server

ENGINE = "4a1bc63d-4719-4bd3-b1ad-5ee590b05e87"


def test_a_retry_that_was_not_run_is_said_so_and_is_exit_code_1(tmp_path: Path) -> None:
    with mock_server() as mock:
        mock.add_fault(operation="RetryEngine", close="before", times=1)
        ran = subprocess.run(
            [sys.executable, "-m", "huaweicloud_retry", "engine", ENGINE, "--wait", "--endpoint", mock.url],
            env={"HW_AUTH_TOKEN": "mock-token", "HW_PROJECT_ID": "demo-project", "HOME": str(tmp_path)},
            cwd=Path(__file__).parents[2],
            check=False,
            capture_output=True,
            text=True,
        )
        acted = [entry["acted"] for entry in mock.request_log() if entry["operation"] == "RetryEngine"]
    assert (ran.returncode, acted) == (1, [False]), ran.stderr
    (outcome,) = json.loads(ran.stdout)
    assert (outcome["verdict"], outcome["ended"]) == ("refused", None)
    assert outcome["message"].startswith("not run: job 18638 is Error, ended ")
    assert f"engine {ENGINE}: not run: job 18638 is Error, ended " in ran.stderr
