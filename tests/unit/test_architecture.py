"""Who may know whom (README, "Layout"), and what the repository promises about itself."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import huaweicloud_retry

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "huaweicloud_retry"
CLIENT = ROOT / "generated" / "huaweicloud_retry_client"
TEMPLATES = sorted((ROOT / "codegen" / "templates").glob("*.jinja"))


def imported(file: Path, package_root: Path) -> set[str]:
    """Names of the modules that a file imports, relative ones made absolute, whether at the top or within a function."""
    package = (package_root.name, *file.relative_to(package_root).parent.parts)
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return names


def knows(file: Path, package_root: Path, *prefixes: str) -> set[str]:
    return {n for n in imported(file, package_root) for p in prefixes if n == p or n.startswith(p + ".")}


def foreign(file: Path, package_root: Path, *allowed: str) -> set[str]:
    """What a file imports besides the standard library and what is allowed."""
    names = {n for n in imported(file, package_root) if n.partition(".")[0] not in sys.stdlib_module_names}
    return {n for n in names if not any(f"{n}.".startswith(f"{each}.") for each in allowed)}


def test_the_runtime_knows_only_attrs_httpx_and_httptools() -> None:
    for file in (SRC / "runtime").rglob("*.py"):
        assert not foreign(file, SRC, "attrs", "httpx", "httptools", "huaweicloud_retry.runtime"), file


def test_the_generated_client_knows_only_the_runtime() -> None:
    for file in CLIENT.rglob("*.py"):
        own = "huaweicloud_retry_client", "huaweicloud_retry.runtime"
        assert not foreign(file, CLIENT, "attrs", "httpx", *own), file


@pytest.mark.parametrize("name", ["contract.py", "har.py", "parsing.py"])
def test_the_contract_and_its_readers_know_no_http(name: str) -> None:
    assert not knows(SRC / name, SRC, "uvicorn", "httpx", "huaweicloud_retry.mock")


def test_the_reader_knows_nothing_of_the_contract() -> None:
    assert not knows(SRC / "parsing.py", SRC, "huaweicloud_retry")


@pytest.mark.parametrize("name", ["auth", "token_cache", "endpoints", "credentials"])
def test_who_gives_credentials_and_hosts_knows_nothing_of_operations(name: str) -> None:
    modules = ("auth", "endpoints", "runtime", "signing", "token_cache")
    own = [f"huaweicloud_retry.{module}" for module in modules]
    others = foreign(SRC / f"{name}.py", SRC, "httpx", "anyio", "huaweicloud_retry_client.servers", *own)
    assert others <= {"huaweicloud_retry"}


def test_signing_knows_no_http_library() -> None:
    assert not knows(SRC / "signing.py", SRC, "httpx", "uvicorn", "huaweicloud_retry")


def test_the_mock_does_not_know_the_client_it_is_there_to_test() -> None:
    for file in (SRC / "mock").rglob("*.py"):
        assert not knows(
            file, SRC, "huaweicloud_retry_client", "huaweicloud_retry.auth", "huaweicloud_retry.runtime.errors"
        ), file


def test_only_the_server_of_the_mock_knows_uvicorn() -> None:
    for file in (SRC / "mock").rglob("*.py"):
        assert file.name == "server.py" or not knows(file, SRC, "uvicorn"), file


@pytest.mark.parametrize("name", ["demo", "testing", "cli"])
def test_nobody_imports_what_is_there_for_people(name: str) -> None:
    for file in SRC.rglob("*.py"):
        assert file.name == "__main__.py" or not knows(file, SRC, f"huaweicloud_retry.{name}"), file


@pytest.mark.parametrize("name", ["", ".cli", ".testing"])  # pytest imports the last wherever this is installed
def test_importing_the_package_loads_none_of_the_mocks_libraries(name: str) -> None:
    code = f"import huaweicloud_retry{name}, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"yaml", "jsonschema_rs", "uvicorn"} & set(loaded)


@pytest.mark.parametrize("arguments", [["--help"], ["bulk", "--help"], ["--version"]])
def test_help_waits_for_nothing_that_only_a_command_needs(arguments: list[str]) -> None:
    code = f"import sys\ntry:\n  from huaweicloud_retry.cli import main; main({arguments})\nfinally:\n  print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert ran.returncode == 0
    assert not {"httpx", "attrs", "rich", "shtab", "asyncio", "sqlite3", "yaml"} & set(ran.stdout.split())


def test_nobody_but_the_command_imports_its_subcommands() -> None:
    for file in SRC.rglob("*.py"):
        if file.parent.name != "commands" and file.name != "cli.py":
            assert not knows(file, SRC, "huaweicloud_retry.commands"), file


def test_the_mock_loads_neither_httpx_nor_the_client() -> None:
    code = "import huaweicloud_retry.mock.server, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"httpx", "attrs", "huaweicloud_retry_client"} & set(loaded)


def test_all_names_of_the_package_can_be_imported_and_no_others() -> None:
    for name in huaweicloud_retry.__all__:
        assert name == "__version__" or getattr(huaweicloud_retry, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'nope'"):
        huaweicloud_retry.nope  # noqa: B018 - is what must fail


def test_finding_credentials_loads_nothing_that_only_a_file_or_an_error_needs() -> None:
    code = """
import sys, huaweicloud_retry.credentials as credentials, pathlib
environ = {"HUAWEICLOUD_SDK_AK": "ak", "HUAWEICLOUD_SDK_SK": "sk"}
credentials.find_credentials("cn-north-4", environ, pathlib.Path("/none"))
print(*sys.modules)
"""
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"configparser", "difflib"} & set(loaded)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template_says_what_it_replaces_why_and_until_when(template: Path) -> None:
    head = re.sub(r"\s+", " ", template.read_text(encoding="utf-8").partition("-#}")[0])
    pinned = re.search(r"openapi-python-client==([\d.]+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert pinned
    assert f"Upstream: openapi-python-client {pinned[1]}, {template.name}." in head
    assert "Written anew because" in head
    assert "Delete when:" in head


def test_the_lock_pins_with_hashes_and_names_no_index() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert not re.search(r"https?:|file:|--index|--find-links", lock)
    requirements = re.findall(
        r"^(\S+?)==\S+(?: ;[^\\]*)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", lock, re.MULTILINE
    )
    assert len(requirements) == len(re.findall(r"^[a-z]", lock, re.MULTILINE))


def test_the_lock_has_the_exact_pins_of_pyproject() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    exact = [r for g in pyproject["dependency-groups"].values() for r in g if isinstance(r, str) and "==" in r]
    assert len(exact) >= 6
    for requirement in exact:
        assert re.search(rf"^{re.escape(requirement)}( |$)", lock, re.MULTILINE), f"{requirement}: run `make lock`"


def test_every_make_target_is_listed_by_make_help() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    listed = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert set(phony.split()) == set(re.findall(r"^  make (\S+)", listed, re.MULTILINE))
    assert set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)) == set(phony.split())
