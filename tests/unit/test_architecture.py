"""Who may know whom (README, "Layout"), and what the repository promises about itself."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

import huaweicloud_retry

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted((ROOT / "codegen" / "templates").glob("*.jinja"))
LOCKS = "requirements.lock", "requirements-dev.lock", "requirements-docs.lock", "requirements-uv.lock"


def foreign_imports(package: str) -> set[str]:
    """The top-level names that the modules of a package import, other than the standard library."""
    graph = grimp.build_graph("huaweicloud_retry", "huaweicloud_retry_client", include_external_packages=True)
    modules = {package} | graph.find_descendants(package)
    imported = {name for module in modules for name in graph.find_modules_directly_imported_by(module)}
    return {name.partition(".")[0] for name in imported - modules} - sys.stdlib_module_names


def test_the_runtime_and_the_generated_client_stand_on_three_libraries() -> None:
    assert foreign_imports("huaweicloud_retry.runtime") == {"attrs", "httpx", "httptools"}
    assert foreign_imports("huaweicloud_retry_client") == {"attrs", "httpx", "huaweicloud_retry"}


def loaded_by(code: str) -> set[str]:
    """The modules that a new interpreter has loaded when it has run the code, by their own names and their top-level ones."""
    code = f"import sys\ntry:\n  {code}\nfinally:\n  print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return set(ran.stdout.split())


TESTING = "import huaweicloud_retry.testing"  # pytest loads it everywhere
HELP = "from huaweicloud_retry.cli import main; main(['bulk', '--help'])"
CREDENTIALS = (
    "import pathlib, huaweicloud_retry.credentials as c;"
    " c.find_credentials('cn-north-4', {'HW_ACCESS_KEY': 'ak', 'HW_SECRET_KEY': 'sk'}, pathlib.Path('/none'))"
)


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        (TESTING, {"yaml", "jsonschema_rs", "uvloop"}),
        (HELP, {"httpx", "attrs", "rich", "asyncio", "sqlite3"}),
        ("import huaweicloud_retry.mock.server", {"httpx", "attrs", "huaweicloud_retry_client"}),
        (CREDENTIALS, {"configparser", "difflib"}),
    ],
    ids=["testing", "help", "mock", "credentials"],
)
def test_nothing_is_loaded_before_it_is_needed(code: str, unwanted: set[str]) -> None:
    assert not loaded_by(code) & unwanted


def test_all_names_of_the_package_can_be_imported_and_no_others() -> None:
    for name in huaweicloud_retry.__all__:
        assert name == "__version__" or getattr(huaweicloud_retry, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'nope'"):
        huaweicloud_retry.nope  # noqa: B018 - is what must fail


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template_says_what_it_replaces_why_and_until_when(template: Path) -> None:
    head = re.sub(r"\s+", " ", template.read_text(encoding="utf-8").partition("-#}")[0])
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    pinned = re.search(r"openapi-python-client==([\d.]+)", pyproject)
    assert pinned
    assert f"Upstream: openapi-python-client {pinned[1]}, {template.name}." in head
    assert "Replaced because" in head
    assert "Delete when " in head


def pins(lock: str) -> Iterator[tuple[str, str]]:
    """The requirements of a lock, each with its hashes."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    yield from re.findall(
        r"^(\S+==\S+)(?: ;[^\\]*)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.MULTILINE
    )


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_with_hashes_and_names_no_index(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert not re.search(r"https?:|file:|--index|--find-links", text)
    assert len(list(pins(lock))) == len(re.findall(r"^[a-z]", text, re.MULTILINE))


def test_the_locks_agree_with_each_other_and_with_pyproject() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = (each for group in pyproject["dependency-groups"].values() for each in group)
    exact = {each for each in listed if isinstance(each, str) and "==" in each}
    first, dev, docs, uv = (dict(pins(lock)) for lock in LOCKS)
    assert first.items() <= dev.items(), "run `make lock`"
    names = {pin.partition("==")[0] for pin in dev}
    assert {pin for pin in docs if pin.partition("==")[0] in names} <= dev.keys(), "run `make lock`"
    assert exact <= dev.keys() | docs.keys() | uv.keys(), "run `make lock`"


def test_every_make_target_is_declared_and_make_help_lists_those_with_a_description() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = " ".join(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE))
    assert set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)) == set(phony.split())
    listed = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    described = re.findall(r"^([a-z-]+):.* ##", makefile, re.MULTILINE)
    assert re.findall(r"^  make (\S+)", listed, re.MULTILINE) == described
