"""Says what the changes since an earlier commit break, and for whom: `make breaking BASE=<git ref>`.

Compared are openapi.yaml and what the README tells people to import, at that commit and in the working tree.

- Callers break if what they send is refused, or what they read is gone or may be something they never met.
- Servers break if what they do is no longer in the contract: they serve an operation, or answer a status, a field or a
  value, that is gone, or take what they must refuse now.

What is only new (an operation, an error status, an optional field, a wider request) breaks nobody.

Exit codes: 0 nothing breaks, or version and changelog say so; 1 they do not; 2 refused (ref, spec, disk); 130 Ctrl-C.
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
# The modules that the README imports from. Public is what `__all__` lists there or, where there is none, what has no
# underscore and was not imported; and of a public class, whatever has no underscore.
PUBLIC = re.compile(
    r"huaweicloud_retry(\.bulk|\.follow|\.mock|\.testing)?|huaweicloud_retry_client(\.models|\.api(\.\w+)*)?"
)
WIDER = {"int": "float", "dict": "Mapping", "list": "Sequence", "Sequence": "Iterable"}
UNSEEN = {"__slots__", "__post_init__", "__repr__"}  # without one of its own, a class has another's
ATTRS = "attrs.define", "attrs.frozen"
SENT = "Request", "Fault"  # so end the names of what is only sent; to take more there breaks nobody
FIXTURE = ("pytest.fixture",)  # pytest finds it by its name
Pairs = dict[tuple[str, str], tuple[griffe.Object, griffe.Object]]
"""What a public name stood for and stands for now, by the paths of both: a name may be an alias, or inherited."""


def load(root: Path) -> dict[str, griffe.Module]:
    """The Python packages of a tree, read and not run."""
    loader = griffe.GriffeLoader(
        search_paths=[root / folder for folder in PACKAGES.values()], allow_inspection=False
    )
    found: dict[str, griffe.Module] = {}
    for name, folder in PACKAGES.items():
        if (root / folder / name).is_dir():
            for file in sorted((root / folder / name).rglob("*.py")):
                try:
                    ast.parse(file.read_bytes())  # griffe would pass over such a file, as if it were gone
                except SyntaxError as error:
                    raise Refused(f"{file}:{error.lineno or 1}: {error.msg}") from None
            found[name] = cast("griffe.Module", loader.load(name))
            complete(found[name])
    return found


def complete(owner: griffe.Module | griffe.Class) -> None:
    """Tell griffe which modules are public, and what `__init__` attrs makes, as it knows by itself of dataclasses."""
    if isinstance(owner, griffe.Module):
        owner.public = PUBLIC.fullmatch(owner.path) is not None
    elif any(
        isinstance(each.value, griffe.Expr) and each.value.canonical_path in ATTRS
        for each in owner.decorators
    ):
        parameters = [griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)]
        for name, field in owner.attributes.items():
            default, options = field.value, dict[str, griffe.Expr | str]()
            if isinstance(default, griffe.ExprCall) and default.canonical_path == "attrs.field":
                options = {
                    each.name: each.value
                    for each in default.arguments
                    if isinstance(each, griffe.ExprKeyword)
                }
                default = options.get("default", options.get("factory"))
            if (
                field.annotation is not None
                and "property" not in field.labels
                and str(options.get("init")) != "False"
            ):
                kind = griffe.ParameterKind.keyword_only
                parameters.append(
                    griffe.Parameter(name, annotation=field.annotation, kind=kind, default=default)
                )
        owner.set_member(
            "__init__", griffe.Function("__init__", parameters=griffe.Parameters(*parameters), parent=owner)
        )
    for member in owner.members.values():
        if isinstance(member, griffe.Module | griffe.Class):
            complete(member)
        elif member.name in UNSEEN:
            member.public = False
        elif isinstance(member, griffe.Function) and any(
            each.callable_path in FIXTURE for each in member.decorators
        ):
            member.public = True


def python_findings(olds: dict[str, griffe.Module], news: dict[str, griffe.Module]) -> list[str]:
    """What the changes between two trees break for those who import from them; a line each."""
    found = [f"{name}: the package is gone" for name in olds.keys() - news]
    pairs: Pairs = {}
    for name in olds.keys() & news:
        found += missed_by_griffe(olds[name], news[name], pairs)
    for pair in pairs.values():
        found += found_by_griffe(*pair, public={path for path, _ in pairs})
    return [f"{line}; breaks callers" for line in sorted(set(found))]


def found_by_griffe(old: griffe.Object, new: griffe.Object, public: set[str]) -> Iterator[str]:
    modules = griffe.Module("old"), griffe.Module("new")  # griffe compares what modules have
    for module, its in zip(modules, (old, new), strict=True):
        module.members["its"] = its
    for each in griffe.find_breaking_changes(*modules):
        # Another default is told in the changelog: what was called so can be called so.
        if each.kind is griffe.BreakageKind.PARAMETER_CHANGED_DEFAULT:
            continue
        of = cast("griffe.Object | griffe.Alias", each.obj)  # typed as the one, and is either
        owner = of.final_target.parent if isinstance(of, griffe.Alias) and of.inherited else None
        # Reported for the owner, or as a base class that is lost.
        if owner is not None and owner.path in public:
            continue
        parameter = next(
            (x for x in (each.old_value, each.new_value) if isinstance(x, griffe.Parameter)), None
        )
        yield f"{of.path}{f'({parameter.name})' if parameter else ''}: {each.kind.value}"


def missed_by_griffe(old: griffe.Object, new: griffe.Object, seen: Pairs) -> Iterator[str]:
    """Of public objects: names that `__all__` or their module has lost, base classes, decorators, async, and types."""
    if (old.path, new.path) in seen:
        return
    seen[old.path, new.path] = old, new
    if isinstance(old, griffe.Class) and isinstance(new, griffe.Class):
        yield from class_changes(old, new)
    elif isinstance(old, griffe.Function) and isinstance(new, griffe.Function):
        yield from function_changes(old, new)
    elif isinstance(old, griffe.Attribute) and isinstance(new, griffe.Attribute):
        yield from attribute_changes(old, new)
    members = new.all_members
    for name, was in old.all_members.items():
        if was.is_public and name in members:
            now, before, after = members[name], target(was), target(members[name])
            if isinstance(old, griffe.Module) and not now.is_public:
                yield f"{new.path}.{name}: is not public any more"
            if not isinstance(before, str) and not isinstance(after, str):
                yield from missed_by_griffe(before, after, seen)
            elif not isinstance(before, str) and str(after).partition(".")[0] in PACKAGES:
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
    """What decides how it is called."""
    managers = {each.callable_path.rpartition(".")[2] for each in of.decorators} & {"contextmanager"}
    return {*of.labels & {"async", "classmethod", "staticmethod"}, *managers}


def target(member: griffe.Object | griffe.Alias) -> griffe.Object | str:
    """What a name stands for or, if that is nowhere in our packages, where it is imported from."""
    try:
        return member.final_target if isinstance(member, griffe.Alias) else member
    except griffe.AliasResolutionError as error:
        return error.alias.target_path


def ancestors(of: griffe.Class) -> set[str]:
    """All public base classes by their last names, so that one may move."""
    names = {
        str(base).rpartition(".")[2].partition("[")[0] for each in (of, *of.mro()) for base in each.bases
    }
    return {name for name in names if not name.startswith("_")}


def covers(wide: griffe.Expr | str | None, narrow: griffe.Expr | str | None) -> bool:
    """Whether each alternative of the one type is one of the other, as far as their names tell."""
    if wide is None or narrow is None:  # griffe tells of a return type that is gone
        return True
    known = alternatives(wide)
    return not known.isdisjoint({"Any", "object"}) or all(
        any(each in known for each in widened(one)) for one in alternatives(narrow)
    )


def widened(name: str) -> Iterator[str]:
    """The type and more general ones."""
    head, bracket, rest = name.partition("[")
    while head:
        yield head + bracket + rest
        head = WIDER.get(head, "")


def alternatives(annotation: griffe.Expr | str) -> set[str]:
    """The types that a union is of, and the values of Literal, by their names without modules."""

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
    return split(
        ast.parse(re.sub(r"\bSelf\b", "T", names), mode="eval").body
    )  # which the generator may write


def git(*arguments: str, or_else: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)  # noqa: S607 - the user's git
    if done.returncode:
        raise Refused(": ".join(filter(None, [or_else, short(done.stderr.decode(errors="replace"))])))
    return done.stdout


def earlier_tree(base: str, folder: Path) -> None:
    """Put the commit's files into the folder; the checkout, its index and its branches stay as they are."""
    if not base:
        raise Refused("BASE is missing: which commit to compare with? make breaking BASE=<git ref>")
    git("rev-parse", "--git-dir", or_else=f"{ROOT} cannot be read as a git checkout")
    fetch = "`git fetch --tags` brings it, or `git fetch --unshallow` if the clone is shallow"
    unknown = f"BASE={base}: git knows no such commit; if it is on a server, {fetch}"
    commit = git(
        "rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}", or_else=unknown
    )
    archive = git(
        "archive",
        "--format=zip",
        commit.decode().strip(),
        or_else=f"BASE={base}: git cannot read that commit",
    )
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
        raise Refused(
            spec.at(("info", "version"), f"the version is {version}; three numbers are needed, such as 0.2.0")
        )
    return tuple(int(part) for part in version.split("."))


def read_changelog(root: Path) -> str:
    try:
        return (root / CHANGELOG).read_text("utf-8") if (root / CHANGELOG).is_file() else ""
    except UnicodeDecodeError:
        raise Refused(f"{root / CHANGELOG}:1: not UTF-8; save the file as UTF-8") from None


def entries(changelog: str, *sections: str) -> set[str]:
    """The first lines of the entries in some sections, in small letters, or in all of them."""
    found: set[str] = set()
    for section in re.split(r"(?m)^##\s", re.sub(r"(?s)<!--.*?-->", "", changelog))[1:]:
        title = re.match(r"\s*\[?v?([^]\s]*)", section)
        if not sections or (title and title[1].lower() in sections):
            found.update(
                re.sub(r"\s+", " ", line[2:]).strip() for line in re.findall(r"(?m)^[-*]\s.*", section)
            )
    return found


def untold(base: str, old: tuple[Document, str], new: tuple[Document, str], *, breaks: bool) -> Iterator[str]:
    """What the spec's version and the changelog have to say, and do not."""
    (old_spec, old_changelog), (spec, changelog) = old, new
    was, now = version_of(old_spec), version_of(spec)
    at, said = ("info", "version"), f"the version was {'.'.join(map(str, was))} at {base}"
    needed = (was[0] + 1, 0, 0) if was[0] else (0, was[1] + 1, 0)
    if now < was:
        yield spec.at(at, f"{said}, and must not go down")
    elif breaks and now < needed:
        yield spec.at(at, f"{said}; with these changes it must be {'.'.join(map(str, needed))} or more")
    version = ".".join(map(str, now))
    if breaks and not entries(changelog, version, "unreleased") - entries(old_changelog):
        yield f"{CHANGELOG}:1: nothing was added under [{version}] or [Unreleased] since {base}; say there what breaks"


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Say what the changes since an earlier commit break, and for whom."
    )
    parser.add_argument("base", nargs="?", default="", help="the commit: a tag, a branch, a hash")
    base = parser.parse_args().base
    code = 0
    with TemporaryDirectory(prefix="breaking-") as name:
        folder = Path(name)
        try:
            earlier_tree(base, folder)
            old, new = read_spec(folder), read_spec(ROOT)
            lines = [*Comparison(old, new).findings(), *python_findings(load(folder), load(ROOT))]
            told = (old, read_changelog(folder)), (new, read_changelog(ROOT))
            missing = [*untold(base, *told, breaks=bool(lines))]
            lines += [f"changes since {base} that break callers or servers: {len(lines) or 'none'}", *missing]
            code = 1 if missing else 0
        except Refused as refusal:
            here, there = f"{ROOT}{os.sep}", f"{folder}{os.sep}"
            code, lines = 2, [line.replace(there, f"{base}:").replace(here, "") for line in refusal.args]
        except RecursionError:
            code, lines = 2, [f"{SPEC}:1: something contains itself, by $ref or alias"]
        except OSError as error:
            code, lines = 2, [f"refused: {error.strerror}{f': {error.filename}' if error.filename else ''}"]
        except KeyboardInterrupt:
            code, lines = 130, ["interrupted"]
    return show(code, lines)


if __name__ == "__main__":
    sys.exit(main())
