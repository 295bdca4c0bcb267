"""`make docs` builds the site on a bare machine, strictly, and its pages load nothing from elsewhere."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from huaweicloud_retry.mock import running
from tests.unit.test_readme import blocks, shell

ROOT = Path(__file__).parents[2]
BASE_PYTHON = Path(sys.base_prefix, "bin/python3")
NEEDED = "Makefile", "mkdocs.yml", "openapi.yaml", "pyproject.toml", "codegen", "docs", "generated", "src"


def make(folder: Path, target: str) -> subprocess.CompletedProcess[str]:
    command = ["make", target, f"PYTHON={BASE_PYTHON}"]
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkout without an environment, in which the site was built."""
    folder = tmp_path_factory.mktemp("checkout")
    for path in [*(ROOT / name for name in NEEDED), *ROOT.glob("requirements*.lock")]:
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, folder / path.name)
    done = make(folder, "docs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout
    yield folder
    make(folder, "clean")
    assert not (folder / "site").exists()


def test_every_page_of_the_navigation_is_there(built: Path) -> None:
    pages = re.findall(r"(\S+)\.md$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert {
        file.relative_to(ROOT / "docs").with_suffix("").as_posix() for file in ROOT.glob("docs/**/*.md")
    } == set(pages)
    assert all((built / "site" / f"{page}.html").is_file() for page in pages)


def test_no_page_loads_anything_from_another_host(built: Path) -> None:
    loads = re.compile(
        r"<(?:script|img|iframe|link (?!rel=\"?canonical))[^>]*\b(?:src|href)=[\"']?https?:[^>]*>"
    )
    assert [
        found for file in built.glob("site/**/*.html") for found in loads.findall(file.read_text("utf-8"))
    ] == []


def test_the_reference_has_the_docstrings(built: Path) -> None:
    site = built / "site/reference"
    for page, anchor in (
        ("huaweicloud_retry", "huaweicloud_retry.connect"),
        ("bulk", "huaweicloud_retry.bulk.Bulk"),
        ("follow", "huaweicloud_retry.follow.resolve"),
        ("mock", "huaweicloud_retry.testing.huaweicloud_mock"),
        ("operations", "huaweicloud_retry_client.api.cse.retry_engine.asyncio_detailed"),
        ("models", "huaweicloud_retry_client.models.EngineJob"),
    ):
        assert f'id="{anchor}"' in (site / f"{page}.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("docs/index.md", "(client.md)", "(gone.md)"),
        ("src/huaweicloud_retry/connection.py", "        region: Such as", "        nowhere: Such as"),
    ],
    ids=["a broken link", "a docstring of another signature"],
)
def test_a_mistake_fails_the_build(built: Path, file: str, old: str, new: str) -> None:
    text = (built / file).read_text(encoding="utf-8")
    assert old in text
    (built / file).write_text(text.replace(old, new), encoding="utf-8")
    try:
        assert make(built, "docs").returncode != 0
    finally:
        (built / file).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    "more",
    [{}, {"id: 101": "id: 1", "{ my-record:": "{ b: { status: FAILED }, c: { status: FAILED }, my-record:"}],
    ids=["", "more"],
)
def test_the_double_of_the_readme_passes_the_contract_suite(tmp_path: Path, more: dict[str, str]) -> None:
    state = blocks("yaml")[0][1]
    for old, new in more.items():
        assert old in state
        state = state.replace(old, new)
    (tmp_path / "state.yaml").write_text(state, encoding="utf-8")
    with running(state=tmp_path / "state.yaml") as url:
        replacements = {"http://127.0.0.1:9000": url, "state.yaml": f"{tmp_path}/state.yaml EXAMPLES=5"}
        shell("make contract URL=http://127.0.0.1", replacements)
