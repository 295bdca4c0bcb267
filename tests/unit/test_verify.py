"""`hwc-retry verify`: a recording is compared with the contract. The recordings are of real traffic with the mock."""

import base64
import copy
import gzip
import io
import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from huaweicloud_retry import TokenAuth
from huaweicloud_retry.cli import main
from huaweicloud_retry.testing import mock_server
from huaweicloud_retry_client import Client
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.api.workspace import retry_script_execution
from huaweicloud_retry_client.models import EngineActionRequest, RetryScriptExecutionRequest

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
def engine(recording: Har) -> dict[str, Any]:
    """The one entry of an engine retried."""
    entry: dict[str, Any] = copy.deepcopy(recording["log"]["entries"][1])
    return entry


@pytest.fixture
def verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Verify:
    """Run the command on a file: its exit code, the lines on stdout, and stderr."""

    def run(content: Any) -> tuple[int, list[str], str]:
        file = tmp_path / "traffic.har"
        file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        code = main(["verify", str(file)])
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err.replace(str(file), "FILE")

    return run


def test_what_the_client_and_the_mock_say_to_each_other_keeps_the_contract(
    recording: Har, verify: Verify
) -> None:
    assert [entry["response"]["status"] for entry in recording["log"]["entries"]] == [201, 200, 400, 200, 429]
    engines, others = counted(2, others=1)
    assert verify(recording) == (0, [engines, "RetryScriptExecution: requests 2, deviations 0", others], "")


def test_standard_input_is_read_too(
    recording: Har, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(json.dumps(recording).encode())))
    assert main(["verify", "-"]) == 0
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    assert main(["verify", "-"]) == 2
    assert "hwc-retry verify: standard input: is not JSON" in capsys.readouterr().err


# --- Deviations -------------------------------------------------------------------------------------------------------


def change(entry: dict[str, Any], path: str, value: Any) -> None:
    """Set what a pointer leads to; None takes it away."""
    *steps, last = path.split("/")
    for step in steps:
        entry = entry[step]
    if value is None:
        del entry[last]
    else:
        entry[last] = value


def changed(entry: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A copy with changes; a double underscore in a name is a slash."""
    entry = copy.deepcopy(entry)
    for name, value in changes.items():
        change(entry, name.replace("__", "/"), value)
    return entry


def first_findings(lines: list[str]) -> dict[int, str]:
    """What is said first of each entry, by its number: place, then what is wrong."""
    found: dict[int, str] = {}
    for line in lines:
        if line.startswith("/log/entries/"):
            number, _, rest = line.removeprefix("/log/entries/").partition("/")
            found.setdefault(int(number), rest.replace(" RetryEngine:", "", 1))
    return found


BODY = "response/content"
JSON_TYPE = {"name": "Content-Type", "value": "application/json"}
LONG_PROJECT = {"name": "x-enterprise-project-id", "value": "0" * 65}
TWO_TYPES = [{"name": "Content-Type", "value": "text/html"}, {"name": "content-type", "value": "text/plain"}]
TWO_PROJECTS = [{"name": "X-Enterprise-Project-ID", "value": letter * 40} for letter in "ab"]
HTML = {"size": 6, "mimeType": "text/html", "text": "<html>"}
NO_BODY = {"status": 200, "headers": [], "bodySize": 0, "content": {"size": 0, "mimeType": ""}}
LONG_PATH = f"https://cse.cn-north-4.myhuaweicloud.com/v2/{'p' * 65}/enginemgr/engines/e/actions"
TOO_LONG = "the value is longer than 64 characters"


FORM = "application/x-www-form-urlencoded"
FORM_DATA = {"mimeType": FORM, "params": [{"name": "action", "value": "Retry"}]}
NO_DATA = {"mimeType": "", "text": "", "params": []}
# What is changed in an entry, and what is then said of which place.
DEVIATIONS: list[tuple[dict[str, Any], str]] = [
    ({"response__content__text": '{"id": "e", "name": "n", "jobId": "7"}'}, f'{BODY}: body /jobId: the value is not of type "integer"'),
    ({"response__content__text": '{"id": "e", "jobId": 7}'}, f'{BODY}: body: "name" is a required property'),
    ({"response__content__text": '{"id": "e", "name": "n", "jobId": 2147483648}'}, f"{BODY}: body /jobId: the value is greater than"),
    ({"response__content": HTML}, "response/content: body: is not JSON: Expecting value, line 1 column 1"),
    ({"response": NO_BODY}, "response/content: body: is empty; application/json is needed"),
    ({"response__headers": TWO_TYPES}, "response/headers: header Content-Type: 'text/html'"),
    ({"response__headers": [{"name": "Via", "value": "1"}]}, "response/headers: header Content-Type: is missing"),
    ({"response__status": 418}, "response/status: status: 418 is not documented; documented are 200, 400"),
    ({"request__postData__text": '{"action": "Delete"}'}, 'request/postData: body /action: "Retry" was expected'),
    ({"request__headers": TWO_TYPES[1:]}, "request/headers: header Content-Type: 'text/plain'"),
    ({"request__headers": [JSON_TYPE, LONG_PROJECT]}, f"request/headers: header X-Enterprise-Project-ID: {TOO_LONG}"),
    # A header that is given twice is read as one.
    ({"request__headers": [JSON_TYPE, *TWO_PROJECTS]}, f"request/headers: header X-Enterprise-Project-ID: {TOO_LONG}"),
    ({"request__url": LONG_PATH}, f"request/url: path project_id: {TOO_LONG}"),
    ({"request__method": "POST"}, "request/method: 'POST' is not documented; the path has PUT; "),
    ({"request__postData": FORM_DATA, "request__headers": [{"name": "Content-Type", "value": FORM}]},
     "request/headers: header Content-Type: "),
    *(({"request__postData": data, "request__bodySize": 0}, "request/postData: body: is empty")
      for data in (None, NO_DATA)),
]  # fmt: skip


def test_a_deviation_is_named_by_its_place_in_the_file_and_in_the_body(
    engine: dict[str, Any], verify: Verify
) -> None:
    entries = [changed(engine, **changes) for changes, _ in DEVIATIONS]
    code, lines, _ = verify(har(STRANGER, *entries))
    found = first_findings(lines)
    assert (code, set(found)) == (1, set(range(1, len(DEVIATIONS) + 1)))
    for number, (_, says) in enumerate(DEVIATIONS, start=1):
        assert found[number].startswith(says)
    assert verify(har(STRANGER, entries[0]))[1][1:] == counted(deviations=1, others=1)


def test_all_deviations_of_an_entry_are_named(engine: dict[str, Any], verify: Verify) -> None:
    change(engine, "request/postData/text", "{}")
    change(engine, "response/content/text", '{"id": 1, "name": 2}')
    code, lines, _ = verify(har(engine))
    assert code == 1
    assert lines[:4] == [
        '/log/entries/0/request/postData: RetryEngine: body: "action" is a required property',
        '/log/entries/0/response/content: RetryEngine: body: "jobId" is a required property',
        '/log/entries/0/response/content: RetryEngine: body /id: the value is not of type "string"',
        '/log/entries/0/response/content: RetryEngine: body /name: the value is not of type "string"',
    ]


# --- What is none -----------------------------------------------------------------------------------------------------


def in_base64(entry: dict[str, Any]) -> None:
    for holder in (entry["request"]["postData"], entry["response"]["content"]):
        holder |= {"text": base64.b64encode(holder["text"].encode()).decode(), "encoding": "base64"}


def behind_a_proxy(entry: dict[str, Any]) -> None:
    entry["request"]["url"] = entry["request"]["url"].replace("/v2/", "/huawei/cloud/v2/") + "?trace=1#top"


def as_http_2(entry: dict[str, Any]) -> None:
    for message in (entry["request"], entry["response"]):
        message["headers"] = [
            {"name": ":path", "value": "/"},
            *({"name": h["name"].upper(), "value": h["value"]} for h in message["headers"]),
            *({"name": h["name"].lower(), "value": h["value"]} for h in message["headers"]),
        ]


def sanitised(entry: dict[str, Any]) -> None:
    before = entry["request"]["headers"]
    entry["request"]["headers"] = [h for h in before if h["name"].lower() != "x-auth-token"]
    assert len(entry["request"]["headers"]) == len(before) - 1


def unpacked(entry: dict[str, Any]) -> None:
    entry["response"]["headers"].append({"name": "Content-Encoding", "value": "br"})


def without_some_headers(entry: dict[str, Any]) -> None:
    entry["request"]["headers"] = [{"name": "Accept", "value": "*/*"}]


def without_headers(entry: dict[str, Any]) -> None:
    entry["request"]["headers"] = entry["response"]["headers"] = []


def with_two_spellings(entry: dict[str, Any]) -> None:
    for message in (entry["request"], entry["response"]):
        types = (
            {"name": "content-type", "value": f"application/json{end}"} for end in (";charset=UTF-8", "")
        )
        message["headers"] = [*types]


def test_a_quirk_of_the_recorder_is_no_deviation(engine: dict[str, Any], verify: Verify) -> None:
    quirks = [
        in_base64,
        behind_a_proxy,
        as_http_2,
        sanitised,
        unpacked,
        without_some_headers,
        without_headers,
    ]
    entries = []
    for quirk in (*quirks, with_two_spellings):
        entries.append(copy.deepcopy(engine))
        quirk(entries[-1])
    code, lines, _ = verify(har(*entries))
    assert (code, lines[0]) == (0, counted(len(entries))[0])


def test_a_base64_body_is_decoded(engine: dict[str, Any], verify: Verify) -> None:
    change(engine, "response/content/text", "[]")
    in_base64(engine)
    assert verify(har(engine))[1][0].endswith('body: the value is not of type "object"')


def packed(entry: dict[str, Any], encoding: str, body: bytes) -> None:
    entry["response"]["headers"].append({"name": "Content-Encoding", "value": encoding})
    entry["response"]["content"] |= {
        "text": base64.b64encode(body).decode(),
        "encoding": "base64",
        "size": len(body),
    }


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


PACKERS: list[tuple[str, Callable[[bytes], bytes]]] = [("gzip", gzip.compress), ("X-GZIP", gzip.compress)]
PACKERS += [("deflate", zlib.compress), ("deflate", raw_deflate)]
PACKERS += [("deflate, gzip", lambda body: gzip.compress(zlib.compress(body)))]


def test_a_body_that_is_still_compressed_is_decompressed(engine: dict[str, Any], verify: Verify) -> None:
    valid, entries = engine["response"]["content"]["text"].encode(), []
    for encoding, pack in PACKERS:
        for body in (valid, b"[]"):
            entries.append(copy.deepcopy(engine))
            packed(entries[-1], encoding, pack(body))
    code, lines, _ = verify(har(*entries))
    problem = 'response/content: body: the value is not of type "object"'
    assert (code, first_findings(lines)) == (1, dict.fromkeys((1, 3, 5, 7, 9), problem))


UNREADABLE = [
    ("br", b"\x0b\x0d\x80{}\x03", "is compressed with br and cannot be decompressed"),
    ("zstd", b"\x28\xb5\x2f\xfd\x20\x02\x11\0\0{}", "is compressed with zstd and cannot be decompressed"),
    ("gzip", b"\x1f\x8b nonsense", "is compressed with gzip and cannot be decompressed"),
    ("s3cret", b"\xff", "is compressed with an unknown encoding and cannot be decompressed"),
    ("gzip", gzip.compress(b"{}")[:-9], "was not recorded, or only in part"),
    ("gzip", gzip.compress(bytes(1 << 25)), "has more than 16777216 bytes, decompressed"),
]


def test_a_body_that_cannot_be_decompressed_is_unchecked(engine: dict[str, Any], verify: Verify) -> None:
    entries = []
    for encoding, body, _ in UNREADABLE:
        entries.append(copy.deepcopy(engine))
        packed(entries[-1], encoding, body)
    code, lines, _ = verify(har(*entries))
    expected = [f"response/content: the body {says}, so it was not checked" for _, _, says in UNREADABLE]
    assert (code, list(first_findings(lines).values())) == (0, expected)


def test_a_body_of_bytes_that_are_no_text_is_a_deviation_if_it_is_not_packed(
    engine: dict[str, Any], verify: Verify
) -> None:
    packed(engine, "identity", b"\xff")
    assert "body: is not UTF-8" in verify(har(engine))[1][0]


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


def test_entries_of_other_apis_are_counted_and_passed_over(engine: dict[str, Any], verify: Verify) -> None:
    others = [{"request": {"method": how, "url": url}, "response": came} for how, url, came in OTHERS]
    code, lines, _ = verify(har(*others, engine))
    assert (code, lines) == (0, counted(others=len(others)))


@pytest.mark.parametrize("status", [0, -1])
def test_where_no_response_came_the_request_is_checked_still(
    engine: dict[str, Any], verify: Verify, status: int
) -> None:
    engine["response"] |= {"status": status, "headers": [], "content": {"size": 0, "mimeType": "x-unknown"}}
    unchecked = "/log/entries/0/response: RetryEngine: there was no response"
    code, lines, _ = verify(har(engine))
    assert (code, lines[1:]) == (0, counted(unchecked=1))
    assert lines[0].startswith(unchecked)
    change(engine, "request/postData/text", "{}")
    code, lines, _ = verify(har(engine))
    assert (code, "postData" in lines[0], lines[1].startswith(unchecked)) == (1, True, True)


NOT_WHOLE = "RetryEngine: the body was not recorded, or only in part, so it was not checked"


@pytest.mark.parametrize("text", [{"text": '{"id": "e", "name'}, {}], ids=["cut", "no longer kept"])
def test_a_body_that_was_not_recorded_whole_is_unchecked(
    engine: dict[str, Any], verify: Verify, text: Any
) -> None:
    content = {"size": 5_000_000 * len(text), "mimeType": "application/json", **text}
    change(engine, "response/content", content)
    code, lines, _ = verify(har(engine))
    assert (code, lines[0]) == (0, f"/log/entries/0/response/content: {NOT_WHOLE}")


@pytest.mark.parametrize("text", [None, ""])
def test_bodies_that_were_not_recorded_are_said_to_be_unchecked_and_the_rest_is_checked(
    engine: dict[str, Any], verify: Verify, text: str | None
) -> None:
    change(engine, "request/postData/text", text)
    change(engine, "response/content/text", text)
    code, lines, _ = verify(har(engine))
    assert code == 0
    parts = ("request/postData", "response/content")
    assert lines == [*(f"/log/entries/0/{part}: {NOT_WHOLE}" for part in parts), *counted(unchecked=2)]
    change(engine, "response/status", 418)
    assert verify(har(engine))[0] == 1


# --- Secrets ----------------------------------------------------------------------------------------------------------


def test_no_value_of_the_traffic_is_shown(engine: dict[str, Any], verify: Verify) -> None:
    secret = "s3cret" * 20
    names = (
        "X-Auth-Token",
        "Authorization",
        "X-Security-Token",
        "X-Subject-Token",
        "X-Enterprise-Project-ID",
    )
    for message in (engine["request"], engine["response"]):
        message["headers"] += [{"name": name, "value": secret} for name in names]
    engine["request"]["url"] = f"https://a.test/v2/{secret}/enginemgr/engines/{secret}/actions?token={secret}"
    change(engine, "request/postData/text", json.dumps({"action": secret, secret: secret}))
    nested = {"id": [secret], "name": {secret: secret}, "jobId": secret}
    for text in (nested, [secret], secret, f"X-Auth-Token: {secret}"):
        change(engine, "response/content/text", json.dumps(text))
        code, lines, said = verify(har(engine))
        assert (code, len(lines) > 5) == (1, True)
        assert "s3cret" not in said + "".join(lines)
    for name, value in ((secret, [secret]), ("Content-Type", f"application/json;charset={secret}")):
        engine["response"]["headers"][0] = {"name": name, "value": value}
        code, lines, said = verify(har(engine))
        assert "s3cret" not in said + "".join(lines)


# --- What cannot be checked -------------------------------------------------------------------------------------------


NOTHING = "nothing to check"
GET = {"request": {"method": "GET"}}
STRANGER = {"request": {"method": "GET", "url": "https://example.com/"}}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        *((raw, "is not JSON: Expecting value: line 1 column 1 (char 0)") for raw in (b"", b"\xff\xff")),
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


BASE64 = {"text": "abcde", "encoding": "base64"}
ODD: list[tuple[str, Any, str]] = [
    ("response", None, "response: is not an object"),
    *(("response__status", status, "response/status: is not ") for status in ("200", True)),
    ("response__headers", None, "response/headers: is not a list"),
    ("request__headers", [{"name": "Host"}], "request/headers/0: has no name or no value"),
    ("response__content__encoding", "gzip", "response/content/encoding: is not base64"),
    ("request__postData", BASE64, "request/postData/text: is not base64"),
]


def test_an_odd_part_of_an_entry_is_named_and_all_else_is_checked(
    engine: dict[str, Any], verify: Verify
) -> None:
    entries = [changed(engine, **{place: value}) for place, value, _ in ODD]
    code, lines, _ = verify(har(*entries, changed(engine, response__status=418)))
    *odd, deviation = first_findings(lines).values()
    assert (code, lines[-2:]) == (1, counted(len(ODD) + 1, 1, unchecked=len(ODD)))
    assert deviation.startswith("response/status: ")
    for found, (_, _, says) in zip(odd, ODD, strict=True):
        assert found.startswith(says)


def test_an_entry_that_is_odd_in_all_its_parts_is_not_counted(engine: dict[str, Any], verify: Verify) -> None:
    for part in ("request", "response"):
        change(engine, f"{part}/headers", None)
    unchecked = "/log/entries/0/request/headers: RetryEngine: is not a list, so the request was not checked"
    assert verify(har(engine)) == (2, [], f"hwc-retry verify: FILE: nothing to check: {unchecked}\n")


def test_a_file_that_cannot_be_read_is_refused_and_its_name_written_on_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "no\n\x1b[31msuch"]) == 2
    said = capsys.readouterr().err
    assert said == "hwc-retry verify: no\\n\\x1b[31msuch: cannot be read: No such file or directory\n"
    assert main(["verify", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"hwc-retry verify: {tmp_path}: cannot be read: Is a directory\n"


def test_without_what_it_needs_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("contract", "har"):
        monkeypatch.delitem(sys.modules, f"huaweicloud_retry.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    assert main(["verify", "x"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.startswith("hwc-retry verify: ")) == ("", True)
    assert err.endswith("; pip install 'huaweicloud-retry[contract]'\n")
