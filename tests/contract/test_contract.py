"""The contract suite within pytest: each case that fails is a test that fails, with a curl line to repeat it.

Here with one seed; tests/slow/test_contract_seeds.py has three, with more cases.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from huaweicloud_retry.contract import Contract
from huaweicloud_retry.mock import running
from huaweicloud_retry.mock.app import App
from huaweicloud_retry.mock.faults import Faults
from huaweicloud_retry.mock.response import Encoded
from huaweicloud_retry.mock.server import serving
from huaweicloud_retry.mock.state import State, read_state
from tests.contract import checks, rules, suite, wire
from tests.contract import tested as tested_server
from tests.contract.curl import curl
from tests.contract.tested import Rule, Tested, held_to
from tests.mocks import NO_TLS


def test_the_mock_keeps_the_contract(subtests: pytest.Subtests) -> None:
    with suite.mock() as url:
        outcome = suite.run(url, seed=1, examples=5)
    for title, text in suite.by_check(outcome.findings):
        with subtests.test(title):
            pytest.fail(f"{text}\n{suite.REPEATING}")
    assert [verdict for verdict in outcome.verdicts if verdict.verdict != "held"] == []


ONE_RULE = "a_read_changes_nothing"  # with few requests


def run(*options: str) -> suite.Outcome:
    """Run the suite in small: with one rule."""
    with suite.mock() as url:
        return suite.run(url, seed=1, examples=1, options=options, only=[ONE_RULE])


# --- What is found ------------------------------------------------------------------------------------------


def test_each_operation_has_to_come_up_with_each_of_its_statuses(monkeypatch: pytest.MonkeyPatch) -> None:
    contract = Contract.load()
    monkeypatch.setattr(checks, "server", Tested("", contract, {}))
    monkeypatch.setattr(checks.EveryStatusIsReached, "is_due", True)  # whatever ran before
    seen = {(each.id, status): 1 for each in contract.operations for status in each.statuses}
    monkeypatch.setattr(checks, "responses", Counter(seen))
    context: Any = None
    checks.EveryStatusIsReached().after_run(context)
    del checks.responses["RetryEngine", 502]
    with pytest.raises(AssertionError, match="RetryEngine never responded with 502"):
        checks.EveryStatusIsReached().after_run(context)


# What a rule has to find in a body, of the responses to all rules or of its own. tests/mutants has many more.
WRONG: dict[str, Callable[[Any], object]] = {
    "an_engine_retry_names_the_engine_and_its_job": lambda body: body.update(jobId=float(body["jobId"])),
    "each_response_has_a_request_id_of_its_own": lambda body: body.update(request_id="other"),
    "an_error_code_comes_with_its_status": lambda body: body.update(error_code=f"{body['error_code']}9"),
    "no_response_repeats_a_secret": lambda body: body.update(error_msg="contract-security-token"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_rule_finds(name: str) -> None:
    app = App(Contract.load(), State(read_state(checks.STATE.read_bytes())), Faults())

    async def broken(request: Any, pause: Any) -> Encoded:
        encoded = await app(request, pause)
        if request.path.startswith("/_mock/"):
            return encoded
        body = json.loads(encoded.content or b"{}")
        with contextlib.suppress(KeyError):  # a body without what is changed
            WRONG[name](body)
        return encoded._replace(content=json.dumps(body).encode())

    with serving(broken) as url:
        tested = Tested(url, Contract.load(), read_state(checks.STATE.read_bytes()), resets=True)
        among = {"every_operation_needs_credentials", "only_what_failed_is_retried", name}
        verdicts = held_to(tested, [rule for rule in rules.RULES if rule.name in among])
        (verdict,) = (verdict for verdict in verdicts if verdict.rule.name == name)
    assert verdict.verdict == "broken", verdict
    assert verdict.curl.startswith("curl ")


def test_each_rule_has_a_sentence_and_names_its_sources() -> None:
    assert all(rule.sentence.endswith(".") for rule in rules.RULES)
    document: Any = Contract.load().document
    known = re.compile(rf"({'|'.join(document['info']['x-sources'])}|facts [\d.]+|RFC \d+)\b")
    assert [rule.source for rule in rules.RULES if not all(map(known.match, rule.source.split("; ")))] == []


def test_what_a_state_does_not_describe_is_not_applicable(tmp_path: Path) -> None:
    state = {"credentials": {"tokens": {checks.TOKEN: {}}}, "projects": {"demo-project": {}}}
    file = tmp_path / "state.yaml"
    file.write_text(json.dumps(state), encoding="utf-8")
    with running(state=file) as url:
        verdicts = list(held_to(Tested(url, Contract.load(), state, resets=True), rules.RULES))
    assert [verdict for verdict in verdicts if verdict.verdict == "broken"] == []
    assert all(verdict.why for verdict in verdicts if verdict.verdict == "not applicable")
    assert {verdict.verdict for verdict in verdicts} == {"held", "not applicable"}


SECRET = "s3cr3t-token/with+all=="
OTHERS = ("another-t0ken-of-the-state", "secret-key-0123456789", "security-t0ken-0123456789")


@pytest.mark.parametrize(
    "place", ["X-Auth-Token", "Authorization", "Cookie", "X-Security-Token", "X-Any", "query", "body"]
)
def test_a_report_shows_no_secret(place: str) -> None:
    keys = {name: {"secret_key": name, "security_token": name} for name in OTHERS}
    state = {"projects": {}, "credentials": {"tokens": {SECRET: {}}, "access_keys": keys}}
    tested = Tested("", Contract.load(), state)
    like_it = SECRET[:-1], SECRET[3:], f"{SECRET}x", SECRET.swapcase(), f"Bearer {SECRET}"
    for value in (SECRET, *like_it, *OTHERS):
        headers = ((place, value),) if place not in {"query", "body"} else ()
        content = value.encode() + b"\n" if place == "body" else b""
        request = wire.Request("PUT", f"/v2?a={value}" if place == "query" else "/v2", headers, content)
        reply = wire.Reply(request, 400, (), value.encode())
        broken = partial(Tested.broken, reply=reply, what=f"it has {value!r}")
        (verdict,) = held_to(tested, [Rule("a_rule", "A sentence.", "source", broken)])
        assert "it has " in verdict.why
        for secret in (SECRET[3:15], SECRET[3:15].swapcase(), *OTHERS):
            assert secret not in verdict.why + verdict.curl


def test_a_wrong_token_is_sent_again_by_a_curl_line() -> None:
    line = curl("GET", "/v2", {"X-Auth-Token": f"{SECRET}x"}, b"", token=SECRET)
    assert line.endswith("""-H 'x-auth-token: '"$TOKEN"x""")


def test_a_rule_that_fails_by_itself_is_broken_and_the_others_go_on() -> None:
    def crash(_server: Tested) -> None:
        raise RecursionError("too deep")

    with suite.mock() as url:
        tested = Tested(url, Contract.load(), read_state(checks.STATE.read_bytes()), resets=True)
        crashing = Rule("it_crashes", "A sentence.", "source", crash, spends=False)
        first, second = held_to(tested, [crashing, *(rule for rule in rules.RULES if rule.name == ONE_RULE)])
    assert (first.verdict, first.why, second.verdict) == ("broken", "RecursionError: too deep", "held")


def test_when_the_server_goes_down_the_rest_is_not_applicable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tested_server, "PATIENCE", 0)
    with suite.mock() as url:
        tested = Tested(url, Contract.load(), read_state(checks.STATE.read_bytes()))
    goes_down, *others = held_to(tested, rules.RULES[:3])
    assert goes_down.verdict == "broken"
    assert {(each.verdict, each.why) for each in others} == {
        ("not applicable", f"the server went down in {goes_down.rule.name}")
    }


def test_an_option_that_st_does_not_know_is_an_error() -> None:
    with pytest.raises(suite.NotRunError, match="No such option"):
        run("--no-such-option")


def test_a_configuration_that_cannot_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tmp_path / "schemathesis.toml"
    wrong.write_text("no-such-setting = true\n", encoding="utf-8")
    monkeypatch.setattr(suite, "CONFIG", wrong)
    with pytest.raises(suite.NotRunError, match="after 0 cases"):
        run()


@pytest.fixture(scope="module")
def shell() -> Iterator[str]:
    if not shutil.which("curl"):
        pytest.skip("no curl")
    with running(state=checks.STATE) as url:
        yield url


def sent_again(line: str, url: str) -> str:
    """Run a curl line with sh, and return the status it gets."""
    environ = {"PATH": os.environ["PATH"], "URL": url, "TOKEN": checks.TOKEN, "NO_PROXY": "127.0.0.1"}
    ran = subprocess.run(["sh", "-c", line], env=environ, capture_output=True, timeout=30, check=True)
    return ran.stdout.split()[1].decode()


@pytest.mark.parametrize(
    ("method", "headers", "content"),
    [
        ("PUT", {"content-type": "application/json"}, b'{"action": "Retry"}'),
        ("PUT", {"content-type": "text/plain", "x-empty": ""}, "it's an ü\n".encode()),
        ("POST", {}, b"@no file"),
        ("PUT", {"x-enterprise-project-id": "a 'b' $URL `c`"}, bytes(range(256))),
        ("HEAD", {}, b""),
    ],
    ids=["usual", "text", "at", "bytes", "HEAD"],
)
@pytest.mark.parametrize(
    "target", ["/v2/%2E%2e/enginemgr/engines/[1-2]/actions", "/v2/p/script-executions/retry?a='b'"]
)
def test_a_curl_line_sends_the_request_again(
    shell: str, method: str, target: str, headers: dict[str, str], content: bytes
) -> None:
    given = {"X-Auth-Token": checks.TOKEN, **headers}
    sent_again(curl(method, target, given, content, token=checks.TOKEN), shell)
    entry = httpx.get(f"{shell}/_mock/request-log", verify=NO_TLS, trust_env=False).json()["entries"][-1]
    assert entry["method"] == method
    assert entry["path"] + (f"?{entry['query']}" if entry["query"] else "") == target
    own = {"host", "user-agent", "accept", "content-length", "x-auth-token"}
    assert {name: value for name, value in entry["headers"].items() if name not in own} == headers
    assert int(entry["headers"].get("content-length", "0")) == len(content)
    assert entry["status"] != 401


# --- make contract ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_the_way", ["reports", "contract.xml"])
def test_reports_that_cannot_be_written_are_an_error(
    in_the_way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "reports"
    monkeypatch.setenv("RULES", ONE_RULE)
    monkeypatch.setenv("EXAMPLES", "1")
    monkeypatch.setattr(suite, "REPORTS", folder)
    folder.touch() if in_the_way == "reports" else (folder / "contract.xml").mkdir(parents=True)
    assert suite.main() == 2
    error = capsys.readouterr().err
    assert error.startswith("make contract: ")
    assert in_the_way in error
    assert error.count("\n") == 1


def test_ctrl_c_ends_it_in_one_line() -> None:
    environ = {**os.environ, "EXAMPLES": "100000", "RULES": ONE_RULE, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "tests.contract.suite"]
    process = subprocess.Popen(
        command, cwd=suite.ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("The rules, then")
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert error == "make contract: interrupted\n"


HERE = {"URL": "http://127.0.0.1:9"}
BAD: list[tuple[dict[str, str], str]] = [
    ({"EXAMPLES": "many"}, "EXAMPLES='many': an integer above 0 is needed"),
    ({"EXAMPLES": "0"}, "EXAMPLES='0': an integer above 0 is needed"),
    ({"SEED": "-1"}, "SEED='-1': an integer above 0 is needed"),
    ({"TAG": "CSE"}, "TAG: only for a live endpoint, so give its URL= as well"),
    ({"CONFIRM": "yes", **HERE, "STATE": "s"}, "CONFIRM: only for a live endpoint, so leave STATE= out"),
    ({"STATE": "s.yaml"}, "STATE and CREDENTIALS describe the server at URL="),
    ({"CREDENTIALS": "c.yaml"}, "STATE and CREDENTIALS describe the server at URL="),
    ({"URL": "nowhere", "STATE": "s.yaml"}, "URL: the endpoint must be an http(s) URL"),
    ({**HERE, "STATE": "no-such-file.yaml"}, "no-such-file.yaml: No such file or directory"),
    ({**HERE, "STATE": str(checks.STATE)}, "http://127.0.0.1:9 does not respond"),
    ({"RULES": f"no_such_rule,{ONE_RULE}"}, "there is no rule no_such_rule; see tests/contract/rules.py"),
]


@pytest.mark.parametrize(("given", "why"), BAD)
def test_what_it_cannot_do_is_reported_in_one_line(
    given: dict[str, str], why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert suite.main() == 2
    error = capsys.readouterr().err
    assert error.startswith(f"make contract: {why}")
    assert error.count("\n") == 1
