"""The contract suite bites. `make mutants` tries all that is broken on purpose; this, a few of each kind."""

import contextlib
import io
from collections.abc import Generator
from dataclasses import replace

import pytest

from tests.contract import suite
from tests.contract.suite import ROOT
from tests.mutants import client, run, server, spec


@pytest.mark.parametrize(
    ("what", "check"),
    [
        ("200 with jobId out of int32", "agrees_with_contract"),
        ("405 without Allow", "unsupported_method"),
        ("blanks at the end of the body are not signed", "CredentialsAndFormAreChecked"),
        ("404 for an unknown project", "CredentialsAndFormAreChecked"),
        ("a missing action means Retry", "negative_data_rejection"),
    ],
)
def test_a_broken_server_is_found(what: str, check: str) -> None:
    (verdict,) = run.try_server(what, seed=1)
    assert verdict.check == check


@pytest.mark.parametrize("mutant", spec.mutants(), ids=lambda mutant: mutant.what)
def test_a_changed_spec_is_found_and_what_is_wrong_is_said(mutant: spec.Mutant) -> None:
    _, finding = spec.first_finding(mutant)
    assert len(finding) > 20


@pytest.mark.parametrize("what", ["unknown fields are not sent", "an engine called .. is sent"])
def test_a_broken_client_is_found(what: str) -> None:
    assert [bool(verdict.check) for verdict in run.try_client(what, 1, 2)] == [True, True]


@pytest.mark.parametrize("mutant", client.mutants(), ids=lambda mutant: mutant.what)
def test_what_a_broken_client_has_changed_is_there_to_be_changed(mutant: client.Mutant) -> None:
    assert mutant.old in (ROOT / mutant.file).read_text("utf-8")


def test_kinds_that_are_none_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["run", "server", "servr"])
    assert run.main() == 2
    assert capsys.readouterr().err == "there are mutants of client, server, spec, and not of servr\n"


def unchanged(request: server.Request) -> Generator[server.Request, server.Answer, server.Answer]:
    return (yield request)


def test_a_server_that_is_the_mock_is_found_to_be_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(server.MUTANTS, "the mock", unchanged)
    with server.broken("the mock") as (url, between), contextlib.redirect_stdout(io.StringIO()):
        assert suite.run(url, seed=1, examples=20).findings == []
    assert between.changed == 0


def rewritten(request: server.Request) -> Generator[server.Request, server.Answer, server.Answer]:
    return (yield request.with_headers(x_other="1"))


def test_a_mutant_that_asks_otherwise_and_is_told_the_same_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(server.MUTANTS, "the mock", rewritten)
    with server.broken("the mock") as (url, between), contextlib.redirect_stdout(io.StringIO()):
        assert suite.run(url, seed=1, examples=5).findings == []
    assert between.changed == 0


def test_a_mutant_that_changes_nothing_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(server.MUTANTS, "the mock", unchanged)
    monkeypatch.setattr(run, "EXAMPLES", 1)
    with pytest.raises(RuntimeError, match="'the mock' changed nothing"):
        run.try_server("the mock", seed=1)


FOUND = run.Verdict("server", "no name", "response_schema_conformance", "examples", 9)
SURVIVED = run.Verdict("spec", "no promise", "", reason="it promises less")


def test_all_found_or_with_a_reason_is_as_expected() -> None:
    assert run.unexpected([FOUND, SURVIVED]) == []
    assert run.summary([FOUND, SURVIVED]) == "server: 1 of 1 found; spec: 0 of 1 found"


def test_a_survivor_without_a_reason_is_named() -> None:
    assert run.unexpected([FOUND, replace(FOUND, check="")]) == ["server mutant 'no name' survives"]


def test_a_reason_that_does_not_hold_is_named() -> None:
    found = replace(SURVIVED, check="ignored_auth")
    assert run.unexpected([found]) == ["spec mutant 'no promise' was found by ignored_auth"]


def test_a_mutant_is_a_line_of_the_table_with_the_cases_of_each_seed() -> None:
    assert run.table([FOUND, replace(FOUND, after=11), SURVIVED]).splitlines()[2:] == [
        "| server | no name | response_schema_conformance | examples | 9 11 |",
        "| spec | no promise | survives: it promises less |  | 0 |",
    ]
