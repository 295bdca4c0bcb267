"""The contract tests find what is broken on purpose. `make mutants` tries all of it; this a sample, always the same."""

import contextlib
from pathlib import Path

import httpx
import pytest

from tests.contract import checks
from tests.mutants import hooks, run
from tests.mutants.run import Mutant

FOUND = Mutant(
    "server: state", "only failed work is retried", "a second retry", {}, "only_what_failed_is_retried"
)
SURVIVED = Mutant("client: sent", "headers are those of the operation", "no Accept", {})


def test_a_sample_is_found() -> None:
    sample = [
        mutant
        for kind, every in (("server", 31), ("client", 25), ("spec", 4))
        for mutant in run.sample(kind, every)
    ]
    verdicts = list(run.all_tried(sample))
    assert all(verdict.found_by for verdict in verdicts), run.summary(verdicts)


def test_what_is_right_is_found_to_be_right() -> None:
    (mutant,) = run.all_tried([Mutant("server: none", "", "the mock", {})])
    assert mutant.found_by == ""


@pytest.mark.parametrize("kind", run.KINDS)
def test_what_a_mutant_changes_is_there_and_can_be_compiled(kind: str, tmp_path: Path) -> None:
    for number, mutant in enumerate(run.read(kind)):
        run.lay_out(mutant, folder := tmp_path / str(number))
        changed = [file.read_text("utf-8") for file in folder.rglob("*.py") if not file.is_symlink()]
        for text in (*changed, *(mutant.changes.get(name, "") for name in ("request", "response"))):
            compile(text, mutant.what, "exec")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"mock/app.py": ["no such text", ""]}, "mutant 'it': there is no 'no such text'"),
        ({"no.py": ["", ""]}, "mutant 'it': there is no no.py in src"),
        ({"patch": {"openapi": "3.1.0"}}, "mutant 'it' changes nothing"),
    ],
    ids=["text", "file", "spec"],
)
def test_a_mutant_that_changes_nothing_is_an_error(changes: dict[str, object], error: str) -> None:
    with pytest.raises(LookupError, match=error):
        list(run.all_tried([Mutant("spec: any", "", "it", changes)]))


def test_a_mutant_that_fails_by_itself_is_an_error() -> None:
    with (
        pytest.raises(RuntimeError, match="mutant 'wrong' fails by itself"),
        hooks.serving("wrong", {"response": "no_such_name"}, checks.STATE) as url,
        contextlib.suppress(httpx.TransportError),
    ):
        httpx.get(f"{url}/v2/p/enginemgr/engines/e", trust_env=False)


def test_kinds_that_are_none_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["run", "server", "servr"])
    assert run.main() == 2
    assert capsys.readouterr().err == "there are mutants of client, server, spec, and not of servr\n"


def test_the_summary_counts_each_kind_and_names_the_survivors() -> None:
    assert run.summary([FOUND, SURVIVED]).splitlines() == [
        "found    of  kind",
        "    0     1  client: sent",
        "    1     1  server: state",
        "    1     2  all",
        "survives: client: sent: no Accept  [headers are those of the operation]",
    ]
