"""Each file of examples/ does what it says, against the mock."""

import asyncio
import json
import re
import runpy
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from huaweicloud_retry.cli import main
from huaweicloud_retry.testing import Mock

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
README = (EXAMPLES / "README.md").read_text(encoding="utf-8")
ENGINE = "4a1bc63d-4719-4bd3-b1ad-5ee590b05e87"


@pytest.fixture
def mock(shared_mock: Mock, monkeypatch: pytest.MonkeyPatch) -> Mock:
    """A mock in place of the service, by the lines that the page of the examples gives."""
    shared_mock.reset()
    for name, value in re.findall(r"(H[A-Z0-9_]+)=(\S+)", README):
        monkeypatch.setenv(name, value.replace("http://127.0.0.1:8000", shared_mock.url))
    return shared_mock


def run(name: str, **names: object) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / name), names)


def test_the_csv_is_an_input_of_bulk(mock: Mock, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = shutil.copy(EXAMPLES / "failed.csv", tmp_path)
    assert main(["bulk", str(table)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert sorted(json.loads(line)["verdict"] for line in lines) == ["accepted", "accepted", "refused"]


def test_the_same_from_python_sends_nothing_twice(
    mock: Mock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Path(shutil.copy(EXAMPLES / "failed.csv", tmp_path))
    retry_all = run("bulk_retry.py")["retry_all"]
    for sent in (True, False):
        counts = asyncio.run(retry_all(table))
        assert (counts.accepted, counts.refused, counts.unknown) == (2, 1, 0)
        assert ("accepted record" in capsys.readouterr().out) is sent


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        (None, 202, {"engine": "cse-gve7lg", "job_id": 18638}),
        ({"status": 403}, 502, "not processed: 403 "),
        ({"close": "after"}, 504, "unknown whether the job runs again: "),
    ],
    ids=["accepted", "refused", "unknown"],
)
def test_the_web_application_reports_what_happened(mock: Mock, fault: Any, status: int, said: Any) -> None:
    if fault:
        mock.add_fault(operation="RetryEngine", **fault)
    app = run("web_app.py")["app"]

    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport) as browser:
            return await browser.post(f"http://app/projects/demo-project/engines/{ENGINE}/retry")

    response = asyncio.run(call())
    assert response.status_code == status
    assert response.json() == said if status == 202 else response.json()["detail"].startswith(said)


@pytest.mark.parametrize("in_notebook", [False, True], ids=["script", "notebook"])
def test_the_notebook_runs_as_a_script_too(
    mock: Mock, in_notebook: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = {"name": "n", "jobs": [{"id": 1, "status": "Error"}]}
    mock.set_state(json.dumps({"run_time": 0, "projects": {"demo-project": {"engines": {ENGINE: failed}}}}))
    if in_notebook:

        async def cells() -> None:
            print(await run("notebook.py", get_ipython=None)["retry_and_wait"]())

        asyncio.run(cells())
    else:
        run("notebook.py")
    assert capsys.readouterr().out == "succeeded: job 1 is Finished\n"


@pytest.mark.parametrize(
    "name", re.findall(r"^def (test_\w+)", (EXAMPLES / "test_my_code.py").read_text("utf-8"), re.MULTILINE)
)
def test_the_test_with_the_fixture_passes(mock: Mock, name: str) -> None:
    run("test_my_code.py")[name](mock)


def test_the_traffic_has_the_deviation_that_the_page_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(EXAMPLES / "traffic.har")]) == 1
    assert "/log/entries/1/response/content: RetryEngine: body /jobId: " in capsys.readouterr().out


def test_the_page_lists_every_example() -> None:
    listed = set(re.findall(r"\]\(([\w.]+)/?\)", README))
    assert listed == {file.name for file in EXAMPLES.iterdir()} - {"README.md", "__pycache__"}
