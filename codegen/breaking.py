"""Lists breaking changes since an earlier commit, and who is affected: `make breaking BASE=<git ref>`.

Compares openapi.yaml and the modules that the README imports from, at that commit and in the working tree.

- Callers break if a request is now refused, or if a response lacks something or may have something new.
- Servers break if the contract no longer has an operation, status, field or value that they serve, or if they
  accept a request that they must refuse now.

Additions (an operation, an error status, an optional field, a wider request) break nobody.

Exit codes: 0 nothing breaks, or version and changelog say so; 1 they do not; 2 refused (ref, spec, disk);
130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import ast
import io
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

import griffe

from document import ROOT, Document, Refused, openapi_problems, refuse, short, show, yaml_problems
from generate import SPEC
from spec_changes import Comparison

if TYPE_CHECKING:
    from collections.abc import Iterator

CHANGELOG = "CHANGELOG.md"
PACKAGES = {"huaweicloud_retry": "src", "huaweicloud_retry_client": "generated"}
# The modules that the README imports from. Public are the names in `__all__`; without it, names that have no
# underscore and are not imported. In public classes, names without an underscore.
PUBLIC = re.compile(
    r"huaweicloud_retry(\.bulk|\.follow|\.mock|\.testing)?|huaweicloud_retry_client(\.models|\.api(\.\w+)*)?"
)
WIDER = {"int": "float", "dict": "Mapping", "list": "Sequence", "Sequence": "Iterable"}
UNSEEN = {"__slots__", "__post_init__", "__repr__"}  # a class that loses its own inherits another
ATTRS = "attrs.define", "attrs.frozen"
SENT = "Request", "Fault"  # suffixes of classes that are only sent; accepting more there breaks nobody
FIXTURE = "pytest.fixture"  # its functions are public: pytest finds them by name
Pairs = dict[tuple[str, str], tuple[griffe.Object, griffe.Object]]
"""Old and new object of a public name, by the paths of both: a name may be an alias, or inherited."""


def load(root: Path) -> dict[str, griffe.Module]:
    """Parse the Python packages of a tree, without running them."""
    loader = griffe.GriffeLoader(
        search_paths=[root / folder for folder in PACKAGES.values()], allow_inspection=False
    )
    found: dict[str, griffe.Module] = {}
    for name, folder in PACKAGES.items():
        if (root / folder / name).is_dir():
            for file in sorted((root / folder / name).rglob("*.py")):
                try:
                    ast.parse(file.read_bytes())  # griffe would skip a file with a syntax error
                except SyntaxError as error:
                    raise Refused(f"{file}:{error.lineno or 1}: {error.msg}") from None
            found[name] = cast("griffe.Module", loader.load(name))
            complete(found[name])
    return found


def complete(owner: griffe.Module | griffe.Class) -> None:
    """Set in griffe's tree which modules and members are public, and add the `__init__` of attrs classes."""
    if isinstance(owner, griffe.Module):
        owner.public = PUBLIC.fullmatch(owner.path) is not None
    else:
        values = [each.value for each in owner.decorators]
        if any(isinstance(each, griffe.Expr) and each.canonical_path in ATTRS for each in values):
            parameters = griffe.Parameters(*attrs_parameters(owner))
            owner.set_member("__init__", griffe.Function("__init__", parameters=parameters, parent=owner))
    for member in owner.members.values():
        if isinstance(member, griffe.Module | griffe.Class):
            complete(member)
        elif member.name in UNSEEN:
            member.public = False
        elif isinstance(member, griffe.Function) and is_fixture(member):
            member.public = True


def is_fixture(of: griffe.Function) -> bool:
    return any(each.callable_path == FIXTURE for each in of.decorators)


def attrs_parameters(owner: griffe.Class) -> Iterator[griffe.Parameter]:
    """Yield the parameters of the `__init__` that attrs makes; griffe itself knows only dataclasses."""
    yield griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)
    for name, field in owner.attributes.items():
        default, options = field.value, dict[str, griffe.Expr | str]()
        if isinstance(default, griffe.ExprCall) and default.canonical_path == "attrs.field":
            keywords = [each for each in default.arguments if isinstance(each, griffe.ExprKeyword)]
            options = {each.name: each.value for each in keywords}
            default = options.get("default", options.get("factory"))
        is_field = field.annotation is not None and "property" not in field.labels
        if is_field and str(options.get("init")) != "False":
            kind = griffe.ParameterKind.keyword_only
            yield griffe.Parameter(name, annotation=field.annotation, kind=kind, default=default)


def python_findings(olds: dict[str, griffe.Module], news: dict[str, griffe.Module]) -> list[str]:
    """List what the changes between two trees break for code that imports from them."""
    found = [f"{name}: the package is gone" for name in olds.keys() - news]
    pairs: Pairs = {}
    for name in olds.keys() & news:
        found += missed_by_griffe(olds[name], news[name], pairs)
    for pair in pairs.values():
        found += found_by_griffe(*pair, public={path for path, _ in pairs})
    return [f"{line}; breaks callers" for line in sorted(set(found))]


def found_by_griffe(old: griffe.Object, new: griffe.Object, public: set[str]) -> Iterator[str]:
    modules = griffe.Module("old"), griffe.Module("new")  # griffe compares the members of modules
    for module, member in zip(modules, (old, new), strict=True):
        module.members["its"] = member
    for each in griffe.find_breaking_changes(*modules):
        # A changed default breaks no call; the changelog mentions it.
        if each.kind is griffe.BreakageKind.PARAMETER_CHANGED_DEFAULT:
            continue
        of = cast("griffe.Object | griffe.Alias", each.obj)  # griffe declares only Object
        owner = of.final_target.parent if isinstance(of, griffe.Alias) and of.inherited else None
        # It is reported for its owner, or as a lost base class.
        if owner is not None and owner.path in public:
            continue
        values = [value for value in (each.old_value, each.new_value) if isinstance(value, griffe.Parameter)]
        where = f"{of.path}({values[0].name})" if values else of.path
        yield f"{where}: {each.kind.value}"


def missed_by_griffe(old: griffe.Object, new: griffe.Object, seen: Pairs) -> Iterator[str]:
    """Find changes that griffe does not: of base classes, decorators, async, types, and of what is public."""
    if (old.path, new.path) in seen:
        return
    seen[old.path, new.path] = old, new
    if isinstance(old, griffe.Class) and isinstance(new, griffe.Class):
        yield from class_changes(old, new)
    elif isinstance(old, griffe.Function) and isinstance(new, griffe.Function):
        yield from function_changes(old, new)
    elif isinstance(old, griffe.Attribute) and isinstance(new, griffe.Attribute):
        yield from attribute_changes(old, new)
    yield from member_changes(old, new, seen)


def member_changes(old: griffe.Object, new: griffe.Object, seen: Pairs) -> Iterator[str]:
    members = new.all_members
    for name, was in old.all_members.items():
        if not was.is_public or name not in members:
            continue
        if isinstance(old, griffe.Module) and not members[name].is_public:
            yield f"{new.path}.{name}: is no longer public"
        before, after = target(was), target(members[name])
        if isinstance(before, str):
            continue
        if not isinstance(after, str):
            yield from missed_by_griffe(before, after, seen)
        elif after.partition(".")[0] in PACKAGES:
            yield f"{new.path}.{name}: is imported from {after}, where it is gone"


def class_changes(old: griffe.Class, new: griffe.Class) -> Iterator[str]:
    for lost in sorted(ancestors(old) - ancestors(new)):
        yield f"{new.path}: is no longer a {lost}"
    partial, partial_now = (str(each.keywords.get("total")) == "False" for each in (old, new))
    if partial != partial_now and partial == new.name.endswith(SENT):
        yield f"{new.path}: keys {'are mandatory' if partial else 'may be missing'} now"
    frozen, frozen_now = (any("frozen" in str(deco.value) for deco in each.decorators) for each in (old, new))
    if frozen != frozen_now:
        yield f"{new.path}: is {'frozen' if frozen_now else 'mutable'} now"


def function_changes(old: griffe.Function, new: griffe.Function) -> Iterator[str]:
    for trait in sorted(traits(old) ^ traits(new)):
        yield f"{new.path}: is {'' if trait in traits(new) else 'not '}{trait} now"
    for was in old.parameters:
        now = new.parameters[was.name] if was.name in new.parameters else was  # noqa: SIM401 - has no get()
        if not covers(now.annotation, was.annotation):
            yield f"{new.path}({was.name}): takes {now.annotation} now, took {was.annotation}"
    if not covers(old.returns, new.returns):
        yield f"{new.path}: returns {new.returns} now, returned {old.returns}"


def attribute_changes(old: griffe.Attribute, new: griffe.Attribute) -> Iterator[str]:
    if new.parent is None or not new.parent.name.endswith(SENT):
        if not covers(old.annotation, new.annotation):
            yield f"{new.path}: is {new.annotation} now, was {old.annotation}"
    elif "__init__" not in new.parent.members and not covers(new.annotation, old.annotation):
        yield f"{new.path}: takes {new.annotation} now, took {old.annotation}"


def traits(of: griffe.Function) -> set[str]:
    """Return what decides how a function is called."""
    managers = {each.callable_path.rpartition(".")[2] for each in of.decorators} & {"contextmanager"}
    return {*of.labels & {"async", "classmethod", "staticmethod"}, *managers}


def target(member: griffe.Object | griffe.Alias) -> griffe.Object | str:
    """Return the object of a name; if our packages do not have it, the path it is imported from."""
    try:
        return member.final_target if isinstance(member, griffe.Alias) else member
    except griffe.AliasResolutionError as error:
        return error.alias.target_path


def ancestors(of: griffe.Class) -> set[str]:
    """Return all public base classes, by names without modules: they may move."""
    bases = [str(base) for each in (of, *of.mro()) for base in each.bases]
    names = {base.rpartition(".")[2].partition("[")[0] for base in bases}
    return {name for name in names if not name.startswith("_")}


def covers(wide: griffe.Expr | str | None, narrow: griffe.Expr | str | None) -> bool:
    """Return whether the one type includes the other, judged by names."""
    if wide is None or narrow is None:  # griffe reports a lost return type
        return True
    known = union_members(wide)
    if not known.isdisjoint({"Any", "object"}):
        return True
    return all(not known.isdisjoint(widened(member)) for member in union_members(narrow))


def widened(name: str) -> Iterator[str]:
    """Yield the type and more general ones."""
    head, bracket, rest = name.partition("[")
    while head:
        yield head + bracket + rest
        head = WIDER.get(head, "")


def union_members(annotation: griffe.Expr | str) -> set[str]:
    """Return the types of a union, and the values of Literal, by names without modules."""

    def split(node: ast.expr) -> set[str]:
        match node:
            case ast.BinOp():
                parts = [node.left, node.right]
            case ast.Constant(value=str(quoted)):
                parts = [ast.parse(quoted, mode="eval").body]
            case ast.Subscript(value=ast.Name(id="Optional")):
                parts = [node.slice, ast.Constant(None)]
            case ast.Subscript(value=ast.Name(id="Union"), slice=ast.Tuple(elts=parts)):
                pass
            case ast.Subscript(value=ast.Name(id="Literal")):
                return {ast.unparse(each) for each in getattr(node.slice, "elts", [node.slice])}
            case _:
                return {ast.unparse(node)}
        return set[str]().union(*map(split, parts))

    names = re.sub(r"\b[A-Za-z_][\w.]*\.(?=\w)", "", str(annotation))
    names = re.sub(r"\b(Dict|FrozenSet|List|Set|Tuple|Type)\[", lambda old: old[0].lower(), names)
    names = re.sub(r"\bSelf\b", "T", names)  # earlier versions of the generator wrote T
    return split(ast.parse(names, mode="eval").body)


def git(*arguments: str, or_else: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)  # noqa: S607 - the user's git
    if done.returncode:
        raise Refused(": ".join(filter(None, [or_else, short(done.stderr.decode(errors="replace"))])))
    return done.stdout


def earlier_tree(base: str, folder: Path) -> None:
    """Extract the commit's files into the folder. Does not change the checkout."""
    if not base:
        raise Refused("BASE is missing: which commit to compare with? make breaking BASE=<git ref>")
    git("rev-parse", "--git-dir", or_else=f"{ROOT} cannot be read as a git checkout")
    fetch = "`git fetch --tags` brings it, or `git fetch --unshallow` if the clone is shallow"
    unknown = f"BASE={base}: git knows no such commit; if it is on a server, {fetch}"
    verify = "rev-parse", "--verify", "--quiet", "--end-of-options"
    commit = git(*verify, f"{base}^{{commit}}", or_else=unknown).decode().strip()
    archive = git("archive", "--format=zip", commit, or_else=f"BASE={base}: git cannot read that commit")
    zipfile.ZipFile(io.BytesIO(archive)).extractall(folder)
    if not (folder / SPEC).is_file():
        raise Refused(f"BASE={base}: there is no {SPEC} in that commit")


def read_spec(root: Path) -> Document:
    spec = Document(str(root / SPEC) if root != ROOT else SPEC)
    refuse(yaml_problems(spec))
    if not str(spec.root.get("openapi")).startswith("3.1."):
        raise Refused(spec.at(("openapi",), "only specs of OpenAPI 3.1 can be compared"))
    refuse(openapi_problems(spec))
    return spec


def version_of(spec: Document) -> tuple[int, ...]:
    version = str(spec.root["info"]["version"])
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        reason = f"the version is {version}; three numbers are needed, such as 0.2.0"
        raise Refused(spec.at(("info", "version"), reason))
    return tuple(int(part) for part in version.split("."))


def read_changelog(root: Path) -> str:
    try:
        return (root / CHANGELOG).read_text("utf-8") if (root / CHANGELOG).is_file() else ""
    except UnicodeDecodeError:
        raise Refused(f"{root / CHANGELOG}:1: not UTF-8; save the file as UTF-8") from None


def entries(changelog: str, *sections: str) -> set[str]:
    """Return the first lines of the entries, in the named sections (in lower case) or in all."""
    found: set[str] = set()
    for section in re.split(r"(?m)^##\s", re.sub(r"(?s)<!--.*?-->", "", changelog))[1:]:
        title = re.match(r"\s*\[?v?([^]\s]*)", section)
        if not sections or (title and title[1].lower() in sections):
            lines = re.findall(r"(?m)^[-*]\s.*", section)
            found.update(re.sub(r"\s+", " ", line[2:]).strip() for line in lines)
    return found


def undeclared(
    base: str, old: tuple[Document, str], new: tuple[Document, str], *, breaks: bool
) -> Iterator[str]:
    """Yield what is missing in the spec's version and in the changelog."""
    (old_spec, old_changelog), (spec, changelog) = old, new
    was, now = version_of(old_spec), version_of(spec)
    at, before = ("info", "version"), f"the version was {'.'.join(map(str, was))} at {base}"
    needed = (was[0] + 1, 0, 0) if was[0] else (0, was[1] + 1, 0)
    if now < was:
        yield spec.at(at, f"{before}, and must not go down")
    elif breaks and now < needed:
        yield spec.at(at, f"{before}; with these changes it must be {'.'.join(map(str, needed))} or more")
    version = ".".join(map(str, now))
    if breaks and not entries(changelog, version, "unreleased") - entries(old_changelog):
        where = f"[{version}] or [Unreleased]"
        yield f"{CHANGELOG}:1: nothing was added under {where} since {base}; say there what breaks"


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(description="List breaking changes since an earlier commit.")
    parser.add_argument("base", nargs="?", default="", help="the commit: a tag, a branch, a hash")
    base = parser.parse_args().base
    code = 0
    with TemporaryDirectory(prefix="breaking-") as name:
        folder = Path(name)
        try:
            earlier_tree(base, folder)
            old, new = read_spec(folder), read_spec(ROOT)
            lines = [*Comparison(old, new).findings(), *python_findings(load(folder), load(ROOT))]
            before, after = (old, read_changelog(folder)), (new, read_changelog(ROOT))
            missing = [*undeclared(base, before, after, breaks=bool(lines))]
            lines += [f"changes since {base} that break callers or servers: {len(lines) or 'none'}", *missing]
            code = 1 if missing else 0
        except Refused as refusal:
            here, there = f"{ROOT}{os.sep}", f"{folder}{os.sep}"
            code, lines = 2, [line.replace(there, f"{base}:").replace(here, "") for line in refusal.args]
        except RecursionError:
            code, lines = 2, [f"{SPEC}:1: something contains itself, by $ref or alias"]
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            code, lines = 2, [f"refused: {error.strerror}{where}"]
        except KeyboardInterrupt:
            code, lines = 130, ["interrupted"]
    return show(code, lines)


if __name__ == "__main__":
    sys.exit(main())
