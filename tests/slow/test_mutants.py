"""The contract tests find what is broken on purpose. `make mutants` tries all of it; this a sample, always the same."""

import contextlib
import io

import httpx
import pytest

from tests.contract import checks, suite
from tests.mutants import changed, client, run, server, spec

FOUND = run.Verdict(
    "server: state", "a second retry", "only failed work is retried", "a_second_retry_is_refused"
)
SURVIVED = run.Verdict("client: sent", "no Accept", "headers are those of the operation", "")


def test_a_sample_of_broken_servers_and_clients_is_found() -> None:
    sample = [
        (run.TRIES[kind][0], what)
        for kind, every in (("server", 31), ("client", 25))
        for what in run.names(kind, every)
    ]
    verdicts = list(run.tried(sample))
    assert len(verdicts) == 9
    assert all(verdict.found_by for verdict in verdicts), run.summary(verdicts)


@pytest.mark.parametrize("mutant", spec.mutants()[::4], ids=lambda mutant: mutant.what)
def test_a_changed_spec_is_found_and_what_is_wrong_is_said(mutant: spec.Mutant) -> None:
    _, finding = spec.first_finding(mutant)
    assert len(finding) > 20


@pytest.mark.parametrize("mutants", [server.mutants(), client.mutants()], ids=["server", "client"])
def test_what_a_mutant_changes_is_there_and_can_be_compiled(mutants: list[changed.Mutant]) -> None:
    for mutant in mutants:
        for text in (
            *mutant.texts.values(),
            *(mutant.changes.get(name, "") for name in ("request", "response")),
        ):
            compile(text, mutant.what, "exec")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"mock/app.py": ["no such text", ""]}, "app.py has no 'no such text'"),
        ({"no.py": ["", ""]}, "there is no no.py"),
    ],
    ids=["text", "file"],
)
def test_a_mutant_that_changes_nothing_is_an_error(changes: dict[str, list[str]], error: str) -> None:
    with pytest.raises(LookupError, match=error):
        _ = changed.Mutant("", "", "", changes).texts


def test_a_mutant_that_fails_by_itself_is_an_error() -> None:
    mutant = changed.Mutant("", "", "wrong", {"response": "no_such_name"})
    with (
        pytest.raises(RuntimeError, match="mutant 'wrong' fails by itself"),
        server.broken(mutant, checks.STATE) as url,
        contextlib.suppress(httpx.TransportError),
    ):
        httpx.get(f"{url}/v2/p/enginemgr/engines/e", trust_env=False)


def test_a_server_without_a_change_is_found_to_be_right() -> None:
    mock = changed.Mutant("", "", "the mock", {})
    with server.broken(mock, checks.STATE) as url, contextlib.redirect_stdout(io.StringIO()):
        assert suite.run(url, seed=run.SEED, examples=1, only=["a_wrong_token_is_refused"]).findings == []


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
