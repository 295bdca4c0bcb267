"""`--wait` on a retry whose request was lost: the service may begin with it for half a minute, and so long it waits."""

from pathlib import Path

import pytest

from huaweicloud_retry.testing import mock_server
from tests.e2e.cli import Cli
from tests.mocks import ENGINE_ID


def test_a_retry_that_was_not_run_is_reported_and_is_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cli = Cli(tmp_path, monkeypatch, capsys)
    with mock_server() as mock:
        cli.url = mock.url
        mock.add_fault(operation="RetryEngine", close="before", times=1)
        ran = cli(f"engine {ENGINE_ID} --wait")
        acted = [entry["acted"] for entry in mock.request_log() if entry["operation"] == "RetryEngine"]
    assert (ran.code, acted) == (1, [False]), ran.err
    (outcome,) = ran.outcomes
    assert (outcome["verdict"], outcome["ended"]) == ("refused", None)
    assert outcome["message"].startswith("not run: job 18638 is Error, ended ")
    assert f"engine {ENGINE_ID}: not run: job 18638 is Error, ended " in ran.err
