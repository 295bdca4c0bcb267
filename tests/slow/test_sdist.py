"""The source archive is the checkout: nothing is missing, nothing is added, and the tests run from it."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ONLY_IN_A_CHECKOUT = (".ci/", ".gitattributes", ".github/")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder], cwd=ROOT, check=True
    )
    (built,) = folder.glob("*.tar.gz")
    return built


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no git checkout")
def test_it_holds_what_git_holds(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    expected = {name for name in listed if not name.startswith(ONLY_IN_A_CHECKOUT) and (ROOT / name).exists()}
    assert names - {"PKG-INFO"} == expected


def test_the_tests_run_from_it(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    (root,) = tmp_path.iterdir()
    # Before the packages of the checkout, which the environment of the tests has on its path.
    sources = os.pathsep.join([str(root / "src"), str(root / "generated")])
    where = "import huaweicloud_retry as r, huaweicloud_retry_client as c; print(r.__file__, c.__file__)"
    tests = [
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/unit/test_spec.py",
        "tests/e2e/test_demo.py",
    ]
    for arguments in (["-c", where], tests):
        ran = subprocess.run(
            [sys.executable, *arguments],
            cwd=root,
            env={**os.environ, "PYTHONPATH": sources},
            check=False,
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert str(ROOT) not in ran.stdout
