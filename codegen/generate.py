"""Makes generated/huaweicloud_retry_client from openapi.yaml: `make`, or this file with [--check | --lint].

Validates the spec, generates into a scratch folder, checks and formats the result, and swaps it into place.
If any step before the swap fails, generated/ does not change. If the spec is wrong, the error names the line.

Exit codes: 0 done, or nothing to do; 1 --check found a difference; 2 refused (spec, config, tools, disk);
130 Ctrl-C.
"""
# ruff: noqa: PLC0415 - imports at first use: they take a second, and a run may have nothing to do

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import importlib
import io
import os
import re
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from document import (
    ROOT,
    Document,
    Place,
    Refused,
    keys_of,
    openapi_problems,
    reading_problems,
    refuse,
    short,
    show,
    yaml_problems,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from openapi_python_client.config import Config
    from openapi_python_client.parser import GeneratorData
    from openapi_python_client.parser.errors import GeneratorError

    from plain import GeneratedOperation, Plain

Tree = dict[str, bytes]  # relative POSIX path -> content

SPEC, LOCK = "openapi.yaml", "requirements.lock"
CONFIG, TEMPLATES = "codegen/config.yaml", "codegen/templates"
PACKAGE = "generated/huaweicloud_retry_client"
STAMP, RUN_LOCK = ".codegen/stamp", ".codegen/lock"
TOOLS = "openapi-python-client", "ruff", "ruamel-yaml", "openapi-spec-validator"
RUFF = "--isolated", "--no-cache", "--no-respect-gitignore", "--target-version=py311", "--line-length=120"
LF = "--config=format.line-ending='lf'"  # on Windows the generator writes CRLF
DIFF_LENGTH = 100

# Runs in a separate interpreter, where only the package itself can make an import succeed, or warn.
IMPORT_EACH = """
import importlib, json, sys, traceback, warnings
import attrs, httpx
root, failures = sys.argv[1], []
functions = {"sync", "sync_detailed", "asyncio", "asyncio_detailed"}
sys.path.insert(0, root)
warnings.simplefilter("error")
for name in sys.argv[2:]:
    try:
        module = importlib.import_module(name)
        if ".api." in name and not hasattr(module, "__path__"):
            for function in sorted(functions - set(vars(module))):
                failures.append((module.__file__, 1, f"it has no {function}"))
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        frame = [each for each in frames if each.filename.startswith(root)][-1]
        failures.append((frame.filename, frame.lineno, f"{type(error).__name__}: {error}"))
print(json.dumps(failures))
"""


SERVERS = '''"""The services' hosts: for each tag, in lower case, the URL and the values of its `{region}`."""

from typing import Final
'''


def tool_problems() -> Iterator[str]:
    """Find tools that do not have the pinned version: they would change generated/ for no other reason."""
    from importlib.metadata import PackageNotFoundError, version

    lock = (ROOT / LOCK).read_text("utf-8")
    for tool in TOOLS:
        pin = re.search(rf"^{tool}==(\S+)", lock, re.MULTILINE)
        installed = "none"
        with contextlib.suppress(PackageNotFoundError):
            installed = version(tool)
        if pin is None:
            yield f"{LOCK}:1: no pin for {tool}; `make lock` adds it"
        elif installed != pin[1]:
            line = lock.count("\n", 0, pin.start()) + 1
            yield f"{LOCK}:{line}: {tool} {pin[1]} is needed, {installed} is installed; run `make`"


def read_config(config: Document) -> Config:
    """Return the generator's settings. Refuses unknown keys, which the generator would ignore."""
    from openapi_python_client.config import Config, ConfigFile, MetaType
    from pydantic import ValidationError

    unknown = config.root.keys() - ConfigFile.model_fields
    refuse(config.at((key,), f"openapi-python-client has no setting {key}") for key in unknown)
    try:
        file = ConfigFile(**config.root)
    except ValidationError as error:
        raise Refused(*(config.at(each["loc"], each["msg"]) for each in error.errors())) from None
    return Config.from_sources(file, MetaType.NONE, ROOT / SPEC, "utf-8", overwrite=False, output_path=None)


def name_operations(plain: Plain, config: Config) -> None:
    """Set the generator's name and file of each operation."""
    from openapi_python_client.parser.openapi import generate_operation_id
    from openapi_python_client.schema.untrusted_string import UntrustedString
    from openapi_python_client.strings import PythonIdentifier

    for operation in plain.operations:
        method, _, path = operation.title.partition(" ")
        if not operation.name:
            untrusted, prefix = UntrustedString(path), config.field_prefix
            operation.name = generate_operation_id(path=untrusted, method=method.lower(), prefix=prefix)
            reason = f"{operation.title} has no operationId, so its module is {operation.name}.py"
            plain.notes.append(plain.spec.at(operation.place, reason))
        module = PythonIdentifier(operation.name, config.field_prefix)
        operation.file = f"api/{PythonIdentifier(operation.tag, 'tag')}/{module}.py"


def naming_problems(spec: Document, operations: list[GeneratedOperation]) -> Iterator[str]:
    """Find operations with the same name or file: one module would overwrite the other."""
    owners: dict[str, str] = {}
    for operation in operations:
        names = f"operationId {operation.name}", operation.file
        if taken := next((name for name in names if name in owners), None):
            reason = f"{owners[taken]} has {taken}, too; rename one of the two"
            yield spec.at((*operation.place, "operationId"), reason)
        for name in names:
            owners.setdefault(name, f"{operation.title} (line {spec.find(operation.place)[2]})")


def generate(spec: Document, plain: Plain, config: Config, package: Path) -> Sequence[GeneratorError]:
    """Write the generator's output; return its errors."""
    from openapi_python_client import Project
    from openapi_python_client.parser import GeneratorData, openapi
    from openapi_python_client.parser.errors import GeneratorError
    from openapi_python_client.parser.properties.protocol import PropertyProtocol
    from openapi_python_client.parser.properties.union import UnionProperty

    from rendering import Rendering, override_taken_classes

    def fits(_prop: object, _location: object) -> None:
        """Accept any type in any location: the runtime's parameters.py can send them all."""

    setattr(PropertyProtocol, "validate_location", fits)  # noqa: B010 - type checkers refuse an assignment
    setattr(UnionProperty, "validate_location", fits)  # noqa: B010
    setattr(openapi, "_PATH_PARAM_REGEX", re.compile("{([^{}]+)}"))  # noqa: B010 - names may have any character
    override_taken_classes(config)
    config.output_path = package
    data = GeneratorData.from_dict(plain.root, config=config)
    if isinstance(data, GeneratorError):
        return [data]
    rendering = Rendering(spec, plain, data, config)
    refuse([*generator_problems(spec, errors_of(data)), *rendering.problems()])
    project = Project(openapi=data, config=config, custom_template_path=ROOT / TEMPLATES)
    rendering.provide(project.env)
    with contextlib.redirect_stdout(io.StringIO()):
        return project.build()


def errors_of(data: GeneratorData) -> list[GeneratorError]:
    """Return the generator's errors."""
    errors: list[GeneratorError] = list(data.errors)
    for collection in data.endpoint_collections_by_tag.values():
        errors += collection.parse_errors
    return errors


def generator_problems(spec: Document, errors: Sequence[GeneratorError]) -> Iterator[str]:
    """Turn the generator's warnings into problems: it skips what it cannot generate, and goes on."""
    from openapi_python_client.parser.errors import ParseError

    for error in errors:
        text = re.sub(r"<\S+ object at \S+> ?", "", f"{error.header} {error.detail or ''}")
        place: Place = ()
        if operation := re.search(r"parsing (\w+) (\S+) within", text):
            place = ("paths", operation[2], operation[1].lower())
        elif component := re.search(r"/components/\w+/[^\s:]+", text):
            place = tuple(component[0][1:].split("/"))
        if isinstance(error, ParseError) and error.data:  # the part of the spec that has the error
            data = error.data.model_dump(mode="json", by_alias=True, exclude_unset=True)
            parts = spec.walk(*spec.find(place)[:2])
            place = next((each for each, value in parts if value == data), place)
        yield spec.at(place, f"the generator cannot make this: {text}")


def servers_module(spec: Document, plain: Plain) -> str:
    """Return the module with each service's hosts. The tag names the service; its operations share hosts."""
    servers: dict[str, tuple[str, list[str]]] = {}
    owners: dict[str, tuple[GeneratedOperation, bool]] = {}
    problems: list[str] = []
    for operation in plain.operations:
        item = plain.schemas.resolved(plain.schemas.at(operation.place[:-1]))
        listed: Any = item[operation.place[-1]].get("servers") or item.get("servers")
        server: Any = (listed or spec.root.get("servers") or [{"url": "/"}])[0]
        url, variables = server["url"], server.get("variables", {})
        for name in set(variables) - {"region"}:
            url = url.replace(f"{{{name}}}", variables[name]["default"])
        unknown = set(re.findall(r"{([^{}]+)}", url)) - ({"region"} & set(variables))
        problems += [spec.at(operation.place, f"the server {url} has no variable {name}") for name in unknown]
        host = url, [*variables.get("region", {}).get("enum", [])]
        service = operation.tag.lower()
        other, other_is_own = owners.setdefault(service, (operation, bool(listed)))
        if servers.setdefault(service, host) != host:
            wrong, right = (operation, other) if other_is_own or not listed else (other, operation)
            example = f"{right.title} (line {spec.find(right.place)[2]})"
            reason = f"{wrong.title} has other servers than the rest of {operation.tag}, such as {example}"
            problems.append(spec.at(wrong.place, reason))
    refuse(set(problems))
    return f"""{SERVERS}

SERVERS: Final[dict[str, tuple[str, list[str]]]] = {servers!r}
"""


def run(*arguments: str, cwd: Path) -> tuple[int, str]:
    """Run a Python child without the user's settings (-I: Python's own). Return exit code and output."""
    from subprocess import PIPE, STDOUT
    from subprocess import run as run_process

    env = {key: value for key, value in os.environ.items() if not key.startswith("RUFF_")}
    command = [sys.executable, "-I", "-B", *arguments]
    done = run_process(command, cwd=cwd, env=env, stdout=PIPE, stderr=STDOUT, check=False)
    return done.returncode, done.stdout.decode(errors="replace")


def module_problems(spec: Document, operations: list[GeneratedOperation], package: Path) -> Iterator[str]:
    """Check that the output has the module of each operation, no other module, and valid Python."""
    import warnings

    made = read_tree(package)
    wanted = {operation.file: operation for operation in operations}
    known = {"__init__.py", "client.py", "errors.py", "servers.py", "types.py", "py.typed", "api/__init__.py"}
    known.update(wanted, (f"{Path(file).parent.as_posix()}/__init__.py" for file in wanted))
    for file in wanted.keys() - made:
        yield spec.at(wanted[file].place, f"the generator left out {wanted[file].title}: no {file}")
    for file in made.keys() - known:
        if not file.startswith("models/"):
            yield spec.at((), f"the generator made {file}, which no operation asks for")
    for file, data in made.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                compile(data, file, "exec", dont_inherit=True)
            except SyntaxError as error:
                yield blame(spec, operations, file, error.lineno, error.msg)


def format_code(package: Path) -> None:
    """Format with ruff. Not with --fix-only, which would not report that a full disk truncated a file."""
    check = "check", "--select=E,F,I", "--fix", "--output-format=concise"
    for arguments, accepted in ((check, (0, 1)), (("format", LF), (0,))):  # 1: some problems have no fix
        status, output = run("-m", "ruff", *arguments, *RUFF, ".", cwd=package)
        if status not in accepted or " E902 " in output:
            raise Refused(f"ruff {arguments[0]} failed ({status}): {short(output)}")


def import_problems(spec: Document, operations: list[GeneratedOperation], package: Path) -> Iterator[str]:
    """Check that each module, in its final form, imports without a warning and has its functions."""
    import json

    files = [Path(package.name, file).with_suffix("") for file in read_tree(package) if file.endswith(".py")]
    names = [".".join(each.parent.parts if each.name == "__init__" else each.parts) for each in files]
    status, output = run("-c", IMPORT_EACH, str(package.parent), *names, cwd=package)
    if status:
        raise Refused(f"the import check failed ({status}): {short(output)}")
    for file, line, reason in json.loads(output):
        name = Path(file).relative_to(package).as_posix()
        yield blame(spec, operations, name, line, reason.replace(f"{package}{os.sep}", ""))


def blame(
    spec: Document, operations: list[GeneratedOperation], file: str, line: int | None, reason: str
) -> str:
    """Report an error in generated code at the part of the spec that it was made from, if that is known."""
    origins = [(operation.title, operation.place) for operation in operations if file == operation.file]
    schemas = keys_of(spec.find(("components", "schemas"))[1])
    origins += [(name, ("components", "schemas", name)) for name in schemas if f"'{name}'" in reason]
    title, place = [*origins, ("the spec", ())][0]
    return spec.at(place, f"{title} makes code that does not work: {file}:{line}: {reason}")


def read_spec(name: str = SPEC) -> Plain:
    """Read the spec, with all checks that do not need the generator."""
    from plain import Plain
    from plain_schemas import circles
    from spec_values import unused_problems, value_problems

    spec = Document(name)
    refuse(yaml_problems(spec))
    refuse(circles(spec))
    refuse(openapi_problems(spec))
    plain = Plain(spec)
    refuse({*plain.schemas.problems, *value_problems(spec), *unused_problems(spec)})
    return plain


def make_client(scratch: Path) -> tuple[Plain, Path, Tree]:
    """Make the checked and formatted package in the scratch folder."""
    refuse(tool_problems())
    settings, plain = Document(CONFIG), read_spec()
    spec = plain.spec
    refuse(reading_problems(spec, plain.root))
    config = read_config(settings)
    name_operations(plain, config)
    refuse(naming_problems(spec, plain.operations))
    package = scratch / Path(PACKAGE).name
    refuse(generator_problems(spec, generate(spec, plain, config, package)))
    (package / "py.typed").touch()
    (package / "servers.py").write_text(servers_module(spec, plain), "utf-8", newline="\n")
    refuse(module_problems(spec, plain.operations, package))
    format_code(package)
    refuse(import_problems(spec, plain.operations, package))
    return plain, package, read_tree(package)


def read_tree(folder: Path) -> Tree:
    """Read every file below a folder, without caches."""
    names = [file.relative_to(folder) for file in sorted(folder.rglob("*")) if file.is_file()]
    return {
        name.as_posix(): (folder / name).read_bytes() for name in names if "__pycache__" not in name.parts
    }


def read_inputs() -> Tree:
    """Read everything that determines the output."""
    names = [name for name in (SPEC, LOCK) if (ROOT / name).is_file()]
    return {name: (ROOT / name).read_bytes() for name in names} | read_tree(ROOT / "codegen")


def digest(tree: Tree) -> str:
    """Return a hash of a tree's names and bytes."""
    heads = {name: f"{name}\0{len(data)}\0".encode("utf-8", "surrogateescape") for name, data in tree.items()}
    return hashlib.sha256(b"".join(head + tree[name] for name, head in heads.items())).hexdigest()


def compare(old: Tree, new: Tree) -> dict[str, str]:
    """Return the files that differ, each with + (new), ~ (changed) or - (gone)."""
    marks = dict.fromkeys(old, "-") | {name: "~" if name in old else "+" for name in new}
    return {name: marks[name] for name in sorted(marks) if old.get(name) != new.get(name)}


def recover() -> None:
    """Clean up after a killed run. If it was killed between its two renames, restore the client."""
    import shutil

    for scratch in ROOT.glob(".generated-*"):
        if (scratch / "before").is_dir() and not (ROOT / PACKAGE).exists():
            (ROOT / PACKAGE).parent.mkdir(exist_ok=True)
            (scratch / "before").rename(ROOT / PACKAGE)
        shutil.rmtree(scratch, ignore_errors=True)


def swap(new: Path, before: Path) -> None:
    """Do both renames, or none. Ignores Ctrl-C from here on: the rest takes a moment."""
    import signal

    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    else:  # Windows
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    old = ROOT / PACKAGE
    old.parent.mkdir(exist_ok=True)
    if old.exists():
        old.rename(before)
    try:
        new.rename(old)
    except OSError:
        if before.exists():
            before.rename(old)
        raise


@contextlib.contextmanager
def exclusive_run() -> Generator[None]:
    """Allow one run at a time: two would remove each other's files. The lock ends with its process."""
    (ROOT / RUN_LOCK).parent.mkdir(exist_ok=True)
    lock = os.open(ROOT / RUN_LOCK, os.O_RDONLY | os.O_CREAT, 0o666)  # the file may be on a read-only disk
    try:
        wait_for(lock)
        yield
    finally:
        os.close(lock)


def wait_for(lock: int) -> None:
    """Wait until no other process has the lock."""
    try:
        import fcntl
    except ImportError:  # Windows
        msvcrt: Any = importlib.import_module("msvcrt")
        while True:
            with contextlib.suppress(PermissionError):  # another run has it; LK_LOCK would wait ten seconds
                msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)
                return
            time.sleep(0.1)
    else:
        fcntl.flock(lock, fcntl.LOCK_EX)


def regenerate() -> list[str]:
    """Regenerate the client (`make`); return the report."""
    from tempfile import TemporaryDirectory

    recover()
    stamp = ROOT / STAMP
    inputs, old = digest(read_inputs()), read_tree(ROOT / PACKAGE)
    if stamp.is_file() and stamp.read_bytes() == f"{inputs} {digest(old)}".encode():
        return [f"nothing to do: {PACKAGE} matches {SPEC}"]
    # In the project, and so on the same file system as generated/: a rename can move a tree there.
    with TemporaryDirectory(prefix=".generated-", dir=ROOT, ignore_cleanup_errors=True) as folder:
        plain, package, new = make_client(Path(folder))
        changes = compare(old, new)
        new_stamp = Path(folder, "stamp")
        new_stamp.write_bytes(f"{inputs} {digest(new)}".encode())
        new_stamp.replace(stamp)  # before the swap, because nothing may fail after it
        if changes:
            swap(package, Path(folder, "before"))
    return [
        *(f"  {mark} {name}" for name, mark in changes.items()),
        *(f"  {operation.title} -> {operation.file}" for operation in plain.operations),
        *(f"note: {note}" for note in plain.notes),
        f"{PACKAGE}: {len(new)} files, {len(changes) or 'none'} changed",
    ]


def check() -> list[str]:
    """Compare generated/ with a new client (`make check-generated`); return the differences."""
    import difflib
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix=".generated-", dir=ROOT, ignore_cleanup_errors=True) as folder:
        new = make_client(Path(folder))[2]
    old = read_tree(ROOT / PACKAGE)
    changes = compare(old, new)
    diff: list[str] = []
    for name in changes:
        before, after = (tree.get(name, b"").decode(errors="replace").splitlines() for tree in (old, new))
        names = f"{PACKAGE}/{name}", f"{name} as {SPEC} makes it"
        diff += difflib.unified_diff(before, after, *names, lineterm="")
    if len(diff) > DIFF_LENGTH:
        diff[DIFF_LENGTH:] = [f"... and {len(diff) - DIFF_LENGTH} lines more"]
    words = {"+": "missing", "~": "changed", "-": "not made from the spec"}
    return [*diff, *(f"{PACKAGE}/{name}: {words[mark]}" for name, mark in changes.items())]


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(description=f"Make {PACKAGE} from {SPEC}.")
    is_current = "change nothing; exit 1 if the package does not match the spec"
    parser.add_argument("--check", action="store_true", help=is_current)
    parser.add_argument("--lint", action="store_true", help="make nothing; only check the spec")
    options = parser.parse_args()
    gc.disable()  # a document is many small objects that stay; collecting them takes a fifth of the time
    code, lines = 0, [f"{PACKAGE} matches {SPEC}"]
    refused = "refused; generated/ is unchanged"
    try:
        with exclusive_run():
            if options.lint:
                read_spec()
                lines = []
            elif not options.check:
                lines = regenerate()
            elif differences := check():
                code, lines = 1, [*differences, f"{PACKAGE} does not match {SPEC}; run: make"]
    except Refused as refusal:
        code, lines = 2, [*refusal.args, refused]
    except RecursionError:
        code, lines = 2, [f"{SPEC}:1: something contains itself, by $ref or alias", refused]
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        code, lines = 2, [f"refused: {error.strerror}{where}; generated/ is unchanged"]
    except Exception as error:  # noqa: BLE001 - an unforeseen spec may cause any error, in the generator or here
        frame = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno})"
        code, lines = 2, [short(f"{SPEC}:1: internal error, please report it with the spec: {what}"), refused]
    except KeyboardInterrupt:
        code, lines = 130, ["interrupted; generated/ is unchanged"]
    gc.enable()
    return show(code, lines) if lines else code


if __name__ == "__main__":
    sys.exit(main())
