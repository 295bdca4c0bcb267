"""`hwc-retry verify`: a recording is compared with the contract. The recordings are of real traffic with the mock."""

import base64
import copy
import gzip
import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from huaweicloud_retry import TokenAuth
from huaweicloud_retry.testing import mock_server
from huaweicloud_retry_client import Client
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.api.workspace import retry_script_execution
from huaweicloud_retry_client.models import EngineActionRequest, RetryScriptExecutionRequest
from tests.e2e.cli import Cli, Ran

PROJECT, ENGINE = "demo-project", "4a1bc63d-4719-4bd3-b1ad-5ee590b05e87"
Har = dict[str, Any]
Verify = Callable[[Any], tuple[int, list[str], str]]


def entry_of(response: httpx.Response) -> dict[str, Any]:
    """An exchange as a browser records it, without the parts that are not read."""

    def headers(message: httpx.Request | httpx.Response) -> list[dict[str, str]]:
        return [{"name": name, "value": value} for name, value in message.headers.multi_items()]

    request, sent = response.request, response.request.read()
    return {
        "request": {
            "method": request.method,
            "url": str(request.url),
            "headers": headers(request),
            "postData": {"mimeType": request.headers["Content-Type"], "text": sent.decode()},
            "bodySize": len(sent),
        },
        "response": {
            "status": response.status_code,
            "headers": headers(response),
            "content": {"size": len(response.content), "mimeType": "application/json", "text": response.text},
            "bodySize": len(response.content),
        },
    }


def har(*entries: Any) -> Har:
    return {"log": {"version": "1.2", "creator": {"name": "test", "version": "1"}, "entries": list(entries)}}


def counted(requests: int = 1, deviations: int = 0, *, unchecked: int = 0, others: int = 0) -> list[str]:
    """The last two lines of a report about engines."""
    return [
        f"RetryEngine: requests {requests}, deviations {deviations}",
        f"not checked: parts of entries {unchecked}, entries of other APIs or with OPTIONS {others}",
    ]


@pytest.fixture(scope="module")
def recording() -> Har:
    """A token of IAM, an engine retried, the same refused, a script retried, and one throttled."""
    entries: list[Any] = []

    class Recorded(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            response = super().handle_request(request)
            response.read()
            response.request = request
            entries.append(entry_of(response))
            return response

    wire = Recorded()
    with mock_server() as mock, httpx.Client(transport=wire) as http:
        user = {"name": "mock-user", "password": "mock-password", "domain": {"name": "mock-domain"}}
        identity = {"methods": ["password"], "password": {"user": user}}
        issued = http.post(f"{mock.url}/v3/auth/tokens", json={"auth": {"identity": identity}})
        client = Client(mock.url, auth=TokenAuth(issued.headers["X-Subject-Token"]), transport=wire)
        for _ in range(2):
            retry_engine.sync_detailed(PROJECT, ENGINE, client=client, body=EngineActionRequest())
        script = RetryScriptExecutionRequest(record_id="0000000059071dbc01591661d3990020")
        retry_script_execution.sync(PROJECT, client=client, body=script)
        mock.add_fault(status=429, retry_after=2)
        retry_script_execution.sync_detailed(PROJECT, client=client, body=script)
    return har(*entries)


@pytest.fixture
def engine(recording: Har) -> "Entry":
    """The one entry of an engine retried."""
    entry: dict[str, Any] = copy.deepcopy(recording["log"]["entries"][1])
    return entry


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(tmp_path, monkeypatch, capsys)


@pytest.fixture
def verify(cli: Cli) -> Verify:
    """Run the command on a file: its exit code, the lines on stdout, and stderr."""

    def run(content: Any) -> tuple[int, list[str], str]:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        (cli.folder / "FILE").write_bytes(raw)
        ran = cli("verify FILE")
        return ran.code, ran.out.splitlines(), ran.err

    return run


def test_what_the_client_and_the_mock_say_to_each_other_keeps_the_contract(
    recording: Har, verify: Verify
) -> None:
    assert [entry["response"]["status"] for entry in recording["log"]["entries"]] == [201, 200, 400, 200, 429]
    engines, others = counted(2, others=1)
    assert verify(recording) == (0, [engines, "RetryScriptExecution: requests 2, deviations 0", others], "")


def test_standard_input_is_read_too(cli: Cli, recording: Har) -> None:
    assert cli("verify -", stdin=json.dumps(recording)).code == 0
    ran = cli("verify -")
    assert (ran.code, "hwc-retry verify: standard input: is not JSON" in ran.err) == (2, True)


# --- What is said of an entry -----------------------------------------------------------------------------------------

Entry = dict[str, Any]
Change = Entry | Callable[[Entry], None]
"""By pointer, values to set (None takes away); or a function that changes an entry."""


def changed(entry: Entry, change: Change) -> Entry:
    """Return a copy with a change."""
    entry = copy.deepcopy(entry)
    if callable(change):
        change(entry)
        return entry
    for path, value in change.items():
        *steps, last = path.split("/")
        holder = entry
        for step in steps:
            holder = holder[step]
        holder[last] = value
        if value is None:
            del holder[last]
    return entry


def first_findings(lines: list[str]) -> dict[int, str]:
    """What is said first of each entry, by its number: place, then what is wrong."""
    found: dict[int, str] = {}
    for line in lines:
        if line.startswith("/log/entries/"):
            number, _, rest = line.removeprefix("/log/entries/").partition("/")
            found.setdefault(int(number), rest.replace(" RetryEngine:", "", 1))
    return found


def packed(encoding: str, pack: Callable[[bytes], bytes], body: bytes | None = None) -> Change:
    """A body that the exporter did not decompress; without one, the body that was received."""

    def change(entry: Entry) -> None:
        content = entry["response"]["content"]
        sent = pack(content["text"].encode() if body is None else body)
        entry["response"]["headers"].append({"name": "Content-Encoding", "value": encoding})
        content |= {"text": base64.b64encode(sent).decode(), "encoding": "base64", "size": len(sent)}

    return change


def received(text: str) -> Change:
    return {f"{CONTENT}/text": text}


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


def as_it_is(body: bytes) -> bytes:
    return body


PACKERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("identity", as_it_is),
    ("gzip", gzip.compress),
    ("X-GZIP", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("deflate, gzip", lambda body: gzip.compress(zlib.compress(body))),
]
CONTENT, SENT = "response/content", "request/postData"
JSON_TYPE = {"name": "Content-Type", "value": "application/json"}
VIA = {"name": "Via", "value": "1"}
LONG_PROJECT = {"name": "x-enterprise-project-id", "value": "0" * 65}
TWO_TYPES = [{"name": "Content-Type", "value": "text/html"}, {"name": "content-type", "value": "text/plain"}]
TWO_PROJECTS = [{"name": "X-Enterprise-Project-ID", "value": letter * 40} for letter in "ab"]
HTML = {"size": 6, "mimeType": "text/html", "text": "<html>"}
NO_BODY = {"status": 200, "headers": [], "bodySize": 0, "content": {"size": 0, "mimeType": ""}}
NO_RESPONSE = {"response/headers": [], CONTENT: {"size": 0, "mimeType": "x-unknown"}}
LONG_PATH = f"https://cse.cn-north-4.myhuaweicloud.com/v2/{'p' * 65}/enginemgr/engines/e/actions"
TOO_LONG, WRONG_TYPE = "the value is longer than 64 characters", "the value is not of type"
TOO_LONG_A_PROJECT = f"request/headers: header X-Enterprise-Project-ID: {TOO_LONG}"
FORM = "application/x-www-form-urlencoded"
FORM_TYPE = {"name": "Content-Type", "value": FORM}
FORM_DATA = {"mimeType": FORM, "params": [{"name": "action", "value": "Retry"}]}
NO_DATA = {"mimeType": "", "text": "", "params": []}
DEVIATIONS: list[tuple[Change, str]] = [
    (received('{"id": "e", "name": "n", "jobId": "7"}'), f'{CONTENT}: body /jobId: {WRONG_TYPE} "integer"'),
    (received('{"id": "e", "jobId": 7}'), f'{CONTENT}: body: "name" is a required property'),
    (
        received('{"id": "e", "name": "n", "jobId": 2147483648}'),
        f"{CONTENT}: body /jobId: the value is greater",
    ),
    ({CONTENT: HTML}, f"{CONTENT}: body: is not JSON: Expecting value, line 1 column 1"),
    ({"response": NO_BODY}, f"{CONTENT}: body: is empty; application/json is needed"),
    ({"response/headers": TWO_TYPES}, "response/headers: header Content-Type: 'text/html'"),
    ({"response/headers": [VIA]}, "response/headers: header Content-Type: is missing"),
    ({"response/status": 418}, "response/status: status: 418 is not documented; documented are 200, 400"),
    ({"response/status": 418, f"{CONTENT}/text": ""}, "response/status: status: 418 is not documented"),
    ({f"{SENT}/text": '{"action": "Delete"}'}, f'{SENT}: body /action: "Retry" was expected'),
    ({f"{SENT}/text": "{}", "response/status": 0, **NO_RESPONSE}, f'{SENT}: body: "action" is a required'),
    ({"request/headers": TWO_TYPES[1:]}, "request/headers: header Content-Type: 'text/plain'"),
    ({"request/headers": [JSON_TYPE, LONG_PROJECT]}, TOO_LONG_A_PROJECT),
    # A header that is given twice is read as one.
    ({"request/headers": [JSON_TYPE, *TWO_PROJECTS]}, TOO_LONG_A_PROJECT),
    ({"request/url": LONG_PATH}, f"request/url: path project_id: {TOO_LONG}"),
    ({"request/method": "POST"}, "request/method: 'POST' is not documented; the path has PUT; "),
    ({SENT: FORM_DATA, "request/headers": [FORM_TYPE]}, "request/headers: header Content-Type: "),
    ({SENT: None, "request/bodySize": 0}, f"{SENT}: body: is empty"),
    ({SENT: NO_DATA, "request/bodySize": 0}, f"{SENT}: body: is empty"),
    (packed("identity", as_it_is, b"\xff"), f"{CONTENT}: body: is not UTF-8"),
    *((packed(*how, b"[]"), f'{CONTENT}: body: {WRONG_TYPE} "object"') for how in PACKERS),
]
COMPRESSED = f"{CONTENT}: the body is compressed with"
NOT_WHOLE = "the body was not recorded, or only in part, so it was not checked"
UNCHECKED: list[tuple[Change, str]] = [
    ({"response": None}, "response: is not an object"),
    ({"response/status": "200"}, "response/status: is not "),
    ({"response/status": True}, "response/status: is not "),
    ({"response/status": 0, **NO_RESPONSE}, "response: there was no response"),
    ({"response/status": -1, **NO_RESPONSE}, "response: there was no response"),
    ({"response/headers": None}, "response/headers: is not a list"),
    ({"request/headers": [{"name": "Host"}]}, "request/headers/0: has no name or no value"),
    ({f"{CONTENT}/encoding": "gzip"}, f"{CONTENT}/encoding: is not base64"),
    ({SENT: {"text": "abcde", "encoding": "base64"}}, f"{SENT}/text: is not base64"),
    ({f"{SENT}/text": None}, f"{SENT}: {NOT_WHOLE}"),
    ({f"{SENT}/text": ""}, f"{SENT}: {NOT_WHOLE}"),
    ({f"{CONTENT}/text": None}, f"{CONTENT}: {NOT_WHOLE}"),
    ({f"{CONTENT}/text": ""}, f"{CONTENT}: {NOT_WHOLE}"),
    ({CONTENT: {"size": 5_000_000, "text": '{"id": "e", "name'}}, f"{CONTENT}: {NOT_WHOLE}"),
    ({CONTENT: {"size": 0}}, f"{CONTENT}: {NOT_WHOLE}"),  # no longer kept
    (packed("gzip", as_it_is, gzip.compress(b"{}")[:-9]), f"{CONTENT}: {NOT_WHOLE}"),
    (packed("gzip", gzip.compress, bytes(1 << 25)), f"{CONTENT}: the body has more than 16777216 bytes"),
    (packed("br", as_it_is, b"\x0b\x0d\x80{}\x03"), f"{COMPRESSED} br and cannot be decompressed"),
    (packed("zstd", as_it_is, b"\x28\xb5\x2f\xfd\x20\x02\x11\0\0{}"), f"{COMPRESSED} zstd and cannot be"),
    (packed("gzip", as_it_is, b"\x1f\x8b nonsense"), f"{COMPRESSED} gzip and cannot be decompressed"),
    (packed("s3cret", as_it_is, b"\xff"), f"{COMPRESSED} an unknown encoding and cannot be decompressed"),
]


def in_base64(entry: Entry) -> None:
    for holder in (entry["request"]["postData"], entry["response"]["content"]):
        holder |= {"text": base64.b64encode(holder["text"].encode()).decode(), "encoding": "base64"}


def behind_a_proxy(entry: Entry) -> None:
    entry["request"]["url"] = entry["request"]["url"].replace("/v2/", "/huawei/cloud/v2/") + "?trace=1#top"


def as_http_2(entry: Entry) -> None:
    for message in (entry["request"], entry["response"]):
        both = [{**h, "name": h["name"].upper()} for h in message["headers"]]
        both += [{**h, "name": h["name"].lower()} for h in message["headers"]]
        message["headers"] = [{"name": ":path", "value": "/"}, *both]


def sanitised(entry: Entry) -> None:
    before = entry["request"]["headers"]
    entry["request"]["headers"] = [h for h in before if h["name"].lower() != "x-auth-token"]
    assert len(entry["request"]["headers"]) == len(before) - 1


def unpacked(entry: Entry) -> None:
    entry["response"]["headers"].append({"name": "Content-Encoding", "value": "br"})


TWO_SPELLINGS = [
    {"name": "content-type", "value": f"application/json{end}"} for end in (";charset=UTF-8", "")
]
QUIRKS: list[Change] = [in_base64, behind_a_proxy, as_http_2, sanitised, unpacked]
QUIRKS += [
    {"request/headers": [{"name": "Accept", "value": "*/*"}]},
    {"request/headers": [], "response/headers": []},
]
QUIRKS += [{"request/headers": TWO_SPELLINGS, "response/headers": TWO_SPELLINGS}]
QUIRKS += [packed(*how) for how in PACKERS]


@pytest.mark.parametrize(
    ("cases", "code"), [(DEVIATIONS, 1), (UNCHECKED, 0)], ids=["deviations", "unchecked"]
)
def test_what_is_said_of_an_entry_has_its_place(
    engine: Entry, verify: Verify, cases: list[tuple[Change, str]], code: int
) -> None:
    ended, lines, _ = verify(har(STRANGER, *(changed(engine, change) for change, _ in cases)))
    found = first_findings(lines)
    assert (ended, list(found)) == (code, list(range(1, len(cases) + 1)))
    for said, (_, says) in zip(found.values(), cases, strict=True):
        assert said.startswith(says)
    if cases is UNCHECKED:
        assert lines[-2:] == counted(len(cases), unchecked=len(cases), others=1)


def test_a_quirk_of_the_recorder_is_no_deviation(engine: Entry, verify: Verify) -> None:
    entries = [changed(engine, quirk) for quirk in QUIRKS]
    assert verify(har(*entries))[:2] == (0, counted(len(QUIRKS)))


def test_all_that_is_said_of_entries_is_counted(engine: Entry, verify: Verify) -> None:
    twice = changed(engine, {f"{SENT}/text": "{}", f"{CONTENT}/text": '{"id": 1, "name": 2}'})
    code, lines, _ = verify(har(twice, changed(engine, UNCHECKED[0][0])))
    assert code == 1
    assert lines == [
        '/log/entries/0/request/postData: RetryEngine: body: "action" is a required property',
        '/log/entries/0/response/content: RetryEngine: body: "jobId" is a required property',
        '/log/entries/0/response/content: RetryEngine: body /id: the value is not of type "string"',
        '/log/entries/0/response/content: RetryEngine: body /name: the value is not of type "string"',
        "/log/entries/1/response: RetryEngine: is not an object, so the response was not checked",
        *counted(2, 4, unchecked=1),
    ]


@pytest.mark.parametrize("stray", [b"\xff", b"\xe4", b"\0", b"\n"])
def test_neither_a_stray_byte_nor_a_byte_order_mark_does_harm(
    recording: Har, verify: Verify, stray: bytes
) -> None:
    raw = json.dumps({"comment": "HERE", **har(STRANGER, *recording["log"]["entries"])}).encode()
    assert verify(b"\xef\xbb\xbf" + raw.replace(b"HERE", stray).replace(b"example.com", stray))[0] == 0


OTHERS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "https://cse.cn-north-4.myhuaweicloud.com/v2/p/enginemgr/engines", {}),  # the same host
    ("OPTIONS", "https://console.test/v2/p/script-executions/retry", {"status": 204}),  # CORS
    *(("GET", url, {}) for url in ("data:text/html;base64,PGh0bWw+/a/b/c/d/e/f/g/h", "http://[nonsense", "")),
    ("GET", "https://a.test/", {"content": {"text": "\ud800"}}),
]


def test_entries_of_other_apis_are_counted_and_passed_over(engine: Entry, verify: Verify) -> None:
    others = [{"request": {"method": how, "url": url}, "response": came} for how, url, came in OTHERS]
    code, lines, _ = verify(har(*others, engine))
    assert (code, lines) == (0, counted(others=len(others)))


# --- Secrets ----------------------------------------------------------------------------------------------------------


def test_no_value_of_the_traffic_is_shown(engine: Entry, verify: Verify) -> None:
    secret = "s3cret" * 20
    names = "X-Auth-Token", "Authorization", "X-Security-Token", "X-Subject-Token", "X-Enterprise-Project-ID"
    for message in (engine["request"], engine["response"]):
        message["headers"] += [{"name": name, "value": secret} for name in names]
    engine["request"]["url"] = f"https://a.test/v2/{secret}/enginemgr/engines/{secret}/actions?token={secret}"
    engine["request"]["postData"]["text"] = json.dumps({"action": secret, secret: secret})
    nested = {"id": [secret], "name": {secret: secret}, "jobId": secret}
    texts = (nested, [secret], secret, f"X-Auth-Token: {secret}")
    entries = [changed(engine, {f"{CONTENT}/text": json.dumps(text)}) for text in texts]
    for name, value in ((secret, [secret]), ("Content-Type", f"application/json;charset={secret}")):
        entries.append(changed(engine, {}))
        entries[-1]["response"]["headers"][0] = {"name": name, "value": value}
    code, lines, said = verify(har(*entries))
    assert (code, set(first_findings(lines))) == (1, set(range(len(entries))))
    assert "s3cret" not in said + "".join(lines)


# --- What cannot be checked -------------------------------------------------------------------------------------------


NOTHING = "nothing to check"
GET = {"request": {"method": "GET"}}
STRANGER = {"request": {"method": "GET", "url": "https://example.com/"}}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"\xff\xff", "is not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"[" * 100_000, "is nested too deeply"),
        ([], "is not a HAR: there is no list at /log/entries"),
        ({"log": {"entries": {}}}, "is not a HAR: there is no list at /log/entries"),
        (b"PK\3\4", "is a zip archive: unpack it first"),
        (b"\x1f\x8b", "is compressed with gzip: unpack it first"),
        (har(7), f"{NOTHING}: /log/entries/0/request: is not an object"),
        (har(GET), f"{NOTHING}: /log/entries/0/request: has no method or no url"),
        (har(), f"{NOTHING}: none of 0 entries is for an operation of the contract"),
        (har(STRANGER), f"{NOTHING}: none of 1 entries is for an operation of the contract"),
    ],
    ids=range(11),
)
def test_a_file_that_cannot_be_checked_is_refused_in_one_line(
    verify: Verify, content: Any, says: str
) -> None:
    code, lines, said = verify(content)
    assert (code, lines, said.count("\n")) == (2, [], 1)
    assert said.startswith(f"hwc-retry verify: FILE: {says}")


def test_an_entry_that_is_odd_in_all_its_parts_is_not_counted(engine: Entry, verify: Verify) -> None:
    odd = changed(engine, {"request/headers": None, "response/headers": None})
    unchecked = "/log/entries/0/request/headers: RetryEngine: is not a list, so the request was not checked"
    assert verify(har(odd)) == (2, [], f"hwc-retry verify: FILE: nothing to check: {unchecked}\n")


def test_a_file_that_cannot_be_read_is_refused_and_its_name_written_on_one_line(cli: Cli) -> None:
    for name, says in (
        ("no\n\x1b[31msuch", "no\\n\\x1b[31msuch: cannot be read: No such file or directory"),
        (".", ".: cannot be read: Is a directory"),
    ):
        assert cli("verify", name) == Ran(2, "", f"hwc-retry verify: {says}\n")


def test_without_what_it_needs_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    for name in ("contract", "har"):
        monkeypatch.delitem(sys.modules, f"huaweicloud_retry.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    ran = cli("verify x")
    assert (ran.code, ran.out, ran.err.startswith("hwc-retry verify: ")) == (2, "", True)
    assert ran.err.endswith("; pip install 'huaweicloud-retry[contract]'\n")
