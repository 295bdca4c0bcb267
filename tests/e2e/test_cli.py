"""`hwc-retry` sends retries to the mock: exit codes, output and messages, options, dry runs, journals, completion."""

import io
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from huaweicloud_retry.commands.exits import CommandError
from huaweicloud_retry.testing import Mock
from tests.e2e.cli import IDS, KEYS, LIMIT, PASSWORD, TOKEN, Cli, sent

LOST = {"close": "after", "times": 1}
THROTTLED = {"status": 429, "retry_after": 0, "times": 1}

# --- engine and script ------------------------------------------------------------------------------------------------


def test_a_process_prints_outcomes_as_json_on_stdout_and_nothing_on_stderr(cli: Cli) -> None:
    with cli.started("engine e1") as process:
        out, err = process.communicate(timeout=LIMIT)
    (outcome,) = json.loads(out)
    assert (process.returncode, err, outcome["verdict"]) == (0, "", "accepted")
    assert (outcome["engine_id"], outcome["message"], outcome["response"]["jobId"]) == ("e1", "job 1", 1)


@pytest.mark.parametrize(
    ("line", "stdin", "fault", "code", "verdicts", "says"),
    [
        ("engine e1 e1 e2 --output jsonl", "", {}, 0, {"e1": "accepted", "e2": "accepted"}, ""),
        ("engine e1 -", "e2\n e3\n\n", {}, 0, {"e1": "accepted", "e2": "accepted", "e3": "accepted"}, ""),
        ("engine -", "e2\n", {}, 0, {"e2": "accepted"}, ""),
        ("script --record-id -", "r1", {}, 0, {"r1": "accepted"}, ""),
        ("script --record-id r1", "", {}, 0, {"r1": "accepted"}, ""),
        ("script --task-id t1", "", {}, 0, {"t1": "accepted"}, ""),
        ("engine e1 no1 no2", "", {}, 1, {"e1": "accepted", "no1": "refused", "no2": "refused"},
         r"engine no1: .*400 SVCSTG\.00501116: .*\n  -> .*--project-id"),
        ("engine e1 no", "", LOST, 3, {"e1": "unknown", "no": "refused"}, r"\n  -> Check the engine's last job"),
        ("engine e1 --verbose", "", THROTTLED, 0, {"e1": "accepted"}, r"attempt 1: 429 APIGW\.0308: .*\b0 ms\n"),
    ],
)  # fmt: skip
def test_each_item_is_sent_once_and_the_exit_code_is_that_of_the_worst(
    cli: Cli, mock: Mock, line: str, stdin: str, fault: Any, code: int, verdicts: dict[str, str], says: str
) -> None:
    if fault:
        mock.add_fault(**fault)
    ran = cli(line, stdin=stdin)
    assert (ran.code, ran.verdicts) == (code, [*verdicts.values()])
    assert sent(mock) == [*verdicts] * (2 if fault == THROTTLED else 1)
    assert re.search(says, ran.err, re.DOTALL) if says else ran.err == ""
    advice = re.findall("  -> .*", ran.err)
    assert len(advice) == len(set(advice))


def test_after_a_401_nothing_more_is_sent(cli: Cli, mock: Mock) -> None:
    cli.set(HW_AUTH_TOKEN="wrong")
    ran = cli("engine e1 e2 e3")
    assert (ran.code, sent(mock)) == (1, ["e1"])
    assert "five wrong signatures" in ran.err
    assert ran.err.endswith("2 not sent: engine e2, engine e3\n")


def test_an_endpoint_that_cannot_be_reached_is_exit_code_1_with_what_to_check(cli: Cli) -> None:
    ran = cli("engine e1 --endpoint http://127.0.0.1:9")
    assert (ran.code, ran.verdicts) == (1, ["refused"])
    assert "  -> Check --region, --endpoint" in ran.err


def test_a_table_shows_texts_of_servers_as_they_are_and_breaks_no_word(
    cli: Cli,
) -> None:
    cli.has_terminal()
    ran = cli("engine e1 [red]x")
    assert re.search(r"^ *accepted +[\d.]+ ms +engine e1: job 1 *$", ran.out, re.MULTILINE)
    assert re.search(r"^ *refused +[\d.]+ ms +engine \[red\]x: 400 SVCSTG\.00501116: ", ran.out, re.MULTILINE)
    assert "\x1b" not in ran.out + ran.err
    cli.has_terminal(columns=80)
    id_ = "4a1bc63d-4719-4bd3-b1ad-5ee590b05e87"
    assert cli(f"engine {id_}").out.split().count(f"{id_}:") == 1
    header, *rows = cli("engine e2 nowhere --output csv").out.splitlines()
    assert header.startswith("verdict,operation,project_id,region,engine_id,")
    assert [row.split(",")[0] for row in rows] == ["accepted", "refused"]


def test_quiet_reports_only_failures(cli: Cli) -> None:
    assert cli("bulk --quiet", cli.engines("e1")).err == ""
    reported = cli("bulk --quiet", cli.engines("e1", "nowhere")).err
    assert reported.startswith("hwc-retry bulk: engine nowhere: ")
    assert reported.count("hwc-retry bulk: ") == 1


def test_what_the_encoding_of_stdout_lacks_is_escaped(cli: Cli) -> None:
    cli.write("in.csv", "operation,engine_id\nRetryEngine,\u5f15\u64ce\n")
    for output in ("jsonl", "csv", "table"):
        stdout = io.TextIOWrapper(io.BytesIO(), "ascii")
        assert cli(f"bulk in.csv --output {output} --journal {output}", stdout=stdout).code == 1
        assert rb"\u5f15\u64ce" in stdout.buffer.getvalue()


# --- Usage and configuration ------------------------------------------------------------------------------------------

REGION = "--region cn-north-4"
ONE_KIND = "give IDs of one kind: ENGINE_ID, --record-id or --task-id"
NO_REGION = "no region: give --region, or set HW_REGION_NAME or OS_REGION_NAME"


@pytest.mark.parametrize(
    ("line", "changes", "says"),
    [
        ("engin e1", {}, "did you mean engine?"),
        ("engine", {}, "required: ENGINE_ID"),
        ("script", {}, "one of the arguments --record-id --task-id --failed-of is required"),
        ("script --record-id r --failed-of t", {}, "--failed-of: not allowed with argument --record-id"),
        (f"engine e1 {REGION} --wait-timeout 5", {}, "--wait-timeout needs --wait"),
        ("status", {}, ONE_KIND),
        (f"status --record-id .. {REGION}", {}, "record_id is '..'"),
        ("engine e1", {}, NO_REGION),
        ("engine e1 --timeout 0", {}, "'0' is not a number from 0.001 to 3600"),
        ("engine e1", {"HW_PROJECT_ID": ""}, "no project: give --project-id, or set HUAWEICLOUD_SDK_PROJECT_ID or"),
        ("engine e1 --region cn-nort-4", {}, "'cn-nort-4' (--region); did you mean"),
        ("engine e1", {"HW_REGION_NAME": "cn-nort-4"}, "'cn-nort-4' (HW_REGION_NAME); did you mean"),
        ("engine e1 --endpoint http://a.test", {}, "use https\n"),
        (f"engine .. {REGION}", {}, "the path of the request; give a value that is not empty, '.' or '..'"),
        (f"engine e1 {REGION}", {"HW_AUTH_TOKEN": ""}, "no credentials"),
        ("engine e1 --token-file nowhere", {}, "--token-file: nowhere cannot be read: No such file"),
        ("engine e1 --token-file /dev/null", {}, "--token-file: /dev/null: the token must be printable ASCII"),
        ("engine - --token-file -", {}, "--token-file"),
        ("engine -", {}, "standard input has no ID"),
        ("engine e1 --quiet --verbose", {}, "--verbose: not allowed with argument --quiet"),
        ("engine e1 --profile p --token-file t", {}, "not allowed with argument --profile"),
        ("engine e1 --profile p", {}, "credentials cannot be read: No such file or directory"),
        ("engine e1 --output tabel", {}, "; did you mean table?"),
        ("engine e1 --regoin x", {}, "unrecognized arguments: --regoin x; did you mean --region?"),
        ("bulk nowhere", {}, "nowhere cannot be read: No such file or directory"),
        (f"bulk {'n' * 300}", {}, "n cannot be read: File name too long"),
        ("bulk -", {}, "give --journal FILE"),
        ("bulk - --token-file -", {}, "standard input cannot be both FILE and --token-file"),
        ("bulk x --concurrency 101", {}, "'101' is not an integer from 1 to 100"),
        (f"engine e1 {REGION}", {"HTTPS_PROXY": "http://u:mock-password/@x"}, "HTTPS_PROXY is not the URL of a proxy"),
        (f"engine e1 {REGION}", {"HTTPS_PROXY": "socks5://127.0.0.1:9"}, "pip install 'httpx[socks]'"),
        ("resolve nowhere --endpoint http://127.0.0.1:9", {}, "does not exist"),
        pytest.param("bulk /proc/self/mem --journal j", {}, "/proc/self/mem cannot be read: Input/output error",
                     marks=pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="this machine has no /proc")),
    ],
)  # fmt: skip
def test_a_usage_error_is_exit_code_2(idle: Cli, line: str, changes: dict[str, str], says: str) -> None:
    idle.set(**changes)
    ran = idle(line)
    assert (ran.code, ran.out, idle.files()) == (2, "", [])
    assert says in ran.err
    assert ran.err.splitlines()[-1].startswith("hwc-retry")


def test_a_configuration_error_of_a_bulk_names_the_row_and_leaves_no_journal(idle: Cli) -> None:
    # A journal would hold the items with no region, and refuse them with one.
    file = idle.engines("e1")
    assert idle(f"bulk {file}").code == 2
    idle.set(HTTPS_PROXY="::bad")
    assert idle(f"bulk {file} {REGION}").code == 2
    ran = idle(
        f"bulk {REGION}", idle.file({"operation": "RetryEngine", "engine_id": "e1", "region": "cn-nort-4"})
    )
    assert "'cn-nort-4' (of engine e1); did you mean 'cn-north-4'?" in ran.err
    assert idle.files() == [file]


def test_help_and_version_are_printed(idle: Cli) -> None:
    ran = idle("")
    assert (ran.code, ran.err) == (0, "")
    assert "COMMAND" in ran.out
    assert idle("-V").out == idle("--version").out != ""


def test_tls_settings_that_cannot_be_used_are_exit_code_2(idle: Cli) -> None:
    idle.set(SSL_CERT_FILE="/nowhere")
    with idle.started(f"engine e1 {REGION}") as process:  # they are read once in the life of a process
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 2
    assert "cannot be used: No such file or directory; check SSL_CERT_FILE\n" in err


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_token_comes_from_a_file_in_any_encoding_or_from_stdin(cli: Cli, encoding: str) -> None:
    cli.unset("HW_AUTH_TOKEN")
    (cli.folder / "token").write_text("mock-token\n", encoding=encoding)
    assert cli("engine e1 --token-file token").code == 0
    assert cli("engine e2 --token-file -", stdin="mock-token\n").code == 0


def test_a_profile_gives_credentials_and_project_before_the_environment_does(cli: Cli, mock: Mock) -> None:
    profile = cli.folder / ".huaweicloud" / "credentials"
    profile.parent.mkdir()
    keys = "ak = mock-ak\nsk = mock-sk\nsecurity_token = mock-security-token\nproject_id = demo-project\n"
    profile.write_text(f"[basic]\n{keys}[test]\n{keys}[empty]\n", encoding="utf-8")
    profile.chmod(0o644)
    cli.unset("HW_PROJECT_ID", "HW_AUTH_TOKEN")
    ran = cli("engine e1")
    assert ran.code == 0
    assert ran.err.endswith(f"chmod 600 {profile}\n")
    profile.chmod(0o600)
    cli.set(HW_AUTH_TOKEN="wrong", HW_PROJECT_ID="wrong")
    assert cli("engine e2 --profile test").code == 0
    assert cli("bulk --profile test", cli.engines("e3")).code == 0
    for name, says in (("tset", "there are: basic, test, empty"), ("empty", "it needs ak and sk")):
        ran = cli(f"engine e1 --profile {name}")
        assert (ran.code, says in ran.err) == (2, True)
    assert sent(mock) == ["e1", "e2", "e3"]


@pytest.mark.parametrize("line", ["--debug engine e1", "engine e1 --debug"])
def test_debug_shows_the_traceback_of_an_error(idle: Cli, line: str) -> None:
    with pytest.raises(CommandError, match="no region"):
        idle(line)


# --- Dry runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("credentials", [TOKEN, KEYS], ids=["token", "keys"])
def test_a_dry_run_shows_the_request_and_sends_nothing(
    cli: Cli, mock: Mock, credentials: dict[str, str]
) -> None:
    cli.unset("HW_AUTH_TOKEN")
    cli.set(**credentials)
    line = "engine e1 --enterprise-project-id 7"
    ran = cli(line, "--dry-run")
    assert (ran.code, mock.request_log()) == (0, [])
    (shown,) = ran.outcomes
    cli(line)
    came = mock.request_log()[-1]
    for headers in (shown["headers"], came["headers"]):
        headers.pop("x-sdk-date", None)
        assert "***" in headers.pop("authorization", "***")
    assert shown["headers"] == came["headers"]
    assert came["headers"]["x-enterprise-project-id"] == "7"
    assert (shown["method"], shown["url"]) == (came["method"], mock.url + came["path"])
    assert json.loads(shown["body"]) == came["body"]
    cli.has_terminal()
    out = cli(line, "--dry-run").out
    assert out.startswith(f"PUT {mock.url}/v2/demo-project/enginemgr/engines/e1/actions\n")
    assert re.search(r"\n(X-Auth-Token: |Authorization: .*)\*\*\*\n", out)
    assert out.endswith('\n\n{"action":"Retry"}\n')


def test_a_dry_run_shows_the_token_request_too_and_does_not_send_it(cli: Cli, mock: Mock) -> None:
    cli.unset("HW_AUTH_TOKEN")
    cli.set(**PASSWORD, HUAWEICLOUD_SDK_IAM_ENDPOINT=mock.url)
    iam, retry = cli("script --task-id t1 --dry-run").outcomes
    assert (iam["method"], iam["body"]) == ("POST", "***")
    assert iam["url"] == f"{mock.url}/v3/auth/tokens?nocatalog=true"
    assert (retry["headers"]["x-auth-token"], json.loads(retry["body"])) == ("***", {"task_id": "t1"})
    assert mock.request_log() == []


def test_a_dry_run_of_a_bulk_shows_the_plan_and_the_first_request(cli: Cli, mock: Mock) -> None:
    engines = [{"operation": "RetryEngine", "engine_id": each} for each in ("e1", "e2", "e1")]
    file = cli.file(*engines, {"operation": "RetryScriptExecution", "task_id": "t1", "region": "x"})
    ran = cli(f"bulk {file} --dry-run")
    shown = re.findall(r"(?m)\d+ (?:retries|duplicate|would)|\S+: \d+$", ran.err)
    assert shown == ["3 retries", "1 duplicate", f"{mock.url}: 3", "x: 1", "3 would"]
    assert ran.outcomes[0]["url"].endswith("/engines/e1/actions")
    assert (ran.code, mock.request_log(), cli.files()) == (0, [], [file])


def test_a_dry_run_with_a_journal_shows_what_is_left_and_does_not_touch_it(cli: Cli) -> None:
    for name in ("j", "j.lock"):  # as a run leaves them that is killed when it begins
        (cli.folder / name).touch()
    line = f"bulk --journal j {cli.engines('e1', 'nowhere')}"
    assert "2 would be sent" in cli(line, "--dry-run").err
    assert (cli.folder / "j").read_bytes() == b""
    assert cli(line).code == 1
    assert "\nhwc-retry bulk: 0 would be sent;" in cli(line, "--dry-run").err
    shown = cli(line, "--dry-run", "--retry-refused").err
    assert "earlier runs: accepted 1, refused 1, unknown 0\n" in shown
    assert "1 would be sent" in shown


# --- bulk -------------------------------------------------------------------------------------------------------------


def test_a_bulk_sends_each_item_once_and_prints_json_lines(cli: Cli, mock: Mock) -> None:
    ran = cli("bulk --rate 0", cli.engines(*IDS, "e1"))
    assert ran.code == 0
    assert sorted(sent(mock)) == sorted(IDS) == sorted(each["engine_id"] for each in ran.outcomes)
    plan, summary = ran.err.splitlines()
    assert re.search("40 retries; 1 duplicate.*in.jsonl.journal", plan)
    assert summary.endswith("40 retries: accepted 40, refused 0, unknown 0")


def test_the_same_command_sends_no_item_again_and_its_exit_code_covers_all(cli: Cli, mock: Mock) -> None:
    line = f"bulk {cli.engines('e1', 'nowhere')}"
    assert cli(line).code == 1
    again = cli(line)
    assert (again.code, again.out, sent(mock)) == (1, "", ["e1", "nowhere"])
    assert "earlier runs: accepted 1, refused 1, unknown 0\n" in again.err


def test_the_same_command_with_right_credentials_sends_all(cli: Cli, mock: Mock) -> None:
    line = f"bulk {cli.engines('e1', 'e2')}"
    cli.set(HW_AUTH_TOKEN="wrong")
    first = cli(line)
    assert first.code == 1
    assert "stopped: authentication failed" in first.err
    assert "accepted 0, refused 0, unknown 0, not sent 2\n" in first.err
    cli.set(**TOKEN)
    assert (cli(line).code, sent(mock)) == (0, ["e1", "e1", "e2"])


def test_a_journal_with_all_accepted_is_reported_with_date_and_how_to_resend(cli: Cli, mock: Mock) -> None:
    line = f"bulk {cli.engines('e1', 'e2')}"
    cli(line)
    again = cli(line)
    assert (again.code, again.out, len(sent(mock))) == (0, "", 2)
    found = re.search(
        r"all 2 were accepted, the last on \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ.*: (.*)\n", again.err
    )
    assert found
    assert cli(line, *shlex.split(found[1])).code == 1  # their jobs run already
    assert len(sent(mock)) == 4


def test_rows_may_be_added_to_an_input_and_removed(cli: Cli, mock: Mock) -> None:
    cli("bulk", cli.engines("e1", "typo"))
    ran = cli("bulk", cli.engines("e2", "e1"))
    assert (ran.code, sent(mock)) == (0, ["e1", "typo", "e2"])
    removed, before = ran.err.splitlines()[1:3]
    assert removed.endswith(": engine typo (refused)")
    assert before.endswith("earlier runs: accepted 1, refused 0, unknown 0; new in the input 1")


@pytest.mark.parametrize("flag", ["", " --dry-run"])
def test_a_journal_of_another_endpoint_is_refused_with_what_to_do(cli: Cli, mock: Mock, flag: str) -> None:
    file = cli.engines("e1")
    cli(f"bulk {file}")
    ran = cli(f"bulk {file} --endpoint http://localhost:1{flag}")
    assert ran.code == 2
    assert f"{mock.url} (cse)" in ran.err
    assert "give --region and --endpoint as before, or use another journal\n" in ran.err


def test_a_damaged_journal_sends_nothing_and_is_not_reported(cli: Cli, mock: Mock) -> None:
    file = cli.engines("e1", "nowhere")
    cli(f"bulk {file}")
    journal = cli.folder / f"{file}.journal"
    journal.write_bytes(journal.read_bytes().replace(b"refused", b"planned"))
    for line in (f"bulk {file}", f"report {journal.name} --output csv", f"resolve {journal.name}"):
        ran = cli(line)
        assert (ran.code, ran.out, len(sent(mock))) == (2, "", 2)
        assert "rows that do not match their checksums: 2." in ran.err
    ran = cli(f"report {file}")
    assert (ran.code, f"; did you mean {journal.name}? Nothing was sent." in ran.err) == (2, True)


def test_refused_items_of_a_report_are_an_input(cli: Cli, mock: Mock) -> None:
    cli("bulk", cli.engines("e1", "nowhere"))
    cli.write("again.csv", cli("report in.jsonl.journal --output csv --only refused,unknown").out)
    assert (cli("bulk again.csv").code, sent(mock)) == (1, ["e1", "nowhere", "nowhere"])


def test_refused_and_unknown_items_are_resent_with_the_option_that_is_named(cli: Cli, mock: Mock) -> None:
    line = f"bulk {cli.engines('e1', 'e2')}"
    mock.add_fault(status=403, times=1)
    mock.add_fault(close="before", times=1)
    first = cli(line)
    assert first.code == 3
    for option in ("--retry-refused", "hwc-retry resolve in.jsonl.journal", "--resend-unknown"):
        assert option in first.err
    assert cli(line, "--retry-refused").code == 3
    assert cli(line, "--resend-unknown").code == 0


CSV = "operation,engine_id\r\nRetryEngine,e1\r\n\r\nRetryEngine,e2\r\n"
JSON_LINES = "\n".join(f'{{"operation": "RetryEngine", "engine_id": "{each}"}}' for each in ("e1", "e2"))


@pytest.mark.parametrize(
    ("line", "content"),
    [("in.csv", CSV), ("in", f"\ufeff{CSV}"), ("in", f"\ufeff{JSON_LINES}"), ("- --journal j", JSON_LINES)],
    ids=["name", "CSV", "JSON lines", "stdin"],
)
def test_the_format_is_known_by_name_or_content(cli: Cli, mock: Mock, line: str, content: str) -> None:
    if not line.startswith("-"):
        cli.write(line, content)
    assert (cli(f"bulk {line}", stdin=content).code, sent(mock)) == (0, ["e1", "e2"])


def test_an_invalid_input_is_reported_with_its_line(idle: Cli) -> None:
    idle.unset("HW_PROJECT_ID")
    ran = idle("bulk", idle.write("in.csv", "{x"))  # the name counts, not the content
    assert (ran.code, "in.csv:1: the first line must name the columns" in ran.err) == (2, True)
    ran = idle("bulk", idle.write("in", JSON_LINES))
    says = "in:1: project_id missing: name it, or give --project-id for all; and 1 more line: 2\n"
    assert (ran.code, says in ran.err) == (2, True)


def test_each_invalid_line_is_reported_and_nothing_is_sent_or_left(cli: Cli, mock: Mock) -> None:
    good = JSON_LINES.splitlines()[0]
    lines = [good, '{"operation": "Retry"}', "{", "", good.replace("e1", ".."), "x" * 3_000_000, "{}", ""]
    ran = cli(f"bulk {cli.write('in', chr(10).join(lines))}")
    *reported, last = ran.err.splitlines()
    assert [line.split(" ")[0] for line in reported] == ["in:2:", "in:3:", "in:5:", "in:6:", "in:7:"]
    assert "5 of 6 lines" in last
    assert (ran.code, ran.out, mock.request_log(), cli.files()) == (2, "", [], ["in"])


# --- Completion -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("bash") is None, reason="this machine has no bash")
def test_bash_completes_commands_options_choices_and_files_and_other_shells_have_a_script(idle: Cli) -> None:
    expected = {
        "en": "engine",
        "sta": "status",
        "bulk --re": "--retry-refused --resend-unknown --resolve --region",
        "engine --output js": "json jsonl",
        "engine --output c": "csv",
        "status --t": "--task-id --token-file --timeout",
        "script --fa": "--failed-of",
        "engine --wa": "--wait --wait-timeout",
        "engine --region eu-west-": "eu-west-101",
        "bulk --journal inp": "input.jsonl",
    }
    idle.write("input.jsonl", "")
    for shell in ("zsh", "fish", "tcsh"):
        assert "retry-refused" in idle(f"completion {shell}").out
    script = idle("completion bash").out
    for given in expected:
        line = f"hwc-retry {given}"
        script += (
            f"COMP_WORDS=({line}); COMP_CWORD={line.count(' ')}; COMP_LINE={line!r}; COMP_POINT={len(line)}"
        )
        script += '; COMPREPLY=(); _shtab_hwc_retry; echo "${COMPREPLY[@]}"\n'
    ran = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True)
    assert dict(zip(expected, ran.stdout.splitlines(), strict=True)) == expected
