"""Which credentials are found, where, and that no text shows a value of them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from huaweicloud_retry import signing
from huaweicloud_retry.credentials import find_credentials, find_project_id
from huaweicloud_retry.runtime.errors import ConfigurationError

SECRET = "s3cr3t-canary"
SDK = {"HUAWEICLOUD_SDK_AK": "sdk-ak", "HUAWEICLOUD_SDK_SK": "sdk-sk"}
HW = {"HW_ACCESS_KEY": "hw-ak", "HW_SECRET_KEY": "hw-sk"}
HW_LOGIN = {"HW_USER_NAME": "hw-user", "HW_USER_PASSWORD": "hw-password", "HW_DOMAIN_NAME": "hw-domain"}
OS = {"OS_ACCESS_KEY": "os-ak", "OS_SECRET_KEY": "os-sk"}
OS_LOGIN = {"OS_USERNAME": "os-user", "OS_PASSWORD": "os-password", "OS_DOMAIN_NAME": "os-domain"}
BASIC = "[basic]\nak = file-ak\nsk = file-sk\n"
FILE_VARIABLE = "HUAWEICLOUD_SDK_CREDENTIALS_FILE"


def sent_by(auth: httpx.Auth, **extensions: str) -> dict[str, Any]:
    """What a request carries; for a password, what IAM is asked for."""
    seen: dict[str, Any] = {}

    def respond(request: httpx.Request) -> httpx.Response:
        if request.url.host == "service.test":
            seen.update({k: v for k, v in request.headers.items() if k.startswith(("x-", "authorization"))})
            return httpx.Response(200)
        seen["iam"] = f"{request.method} {request.url.copy_with(query=None)}"
        seen["auth"] = json.loads(request.content)["auth"]
        token = {"issued_at": "2026-01-01T00:00:00.000000Z", "expires_at": "2026-01-02T00:00:00.000000Z"}
        return httpx.Response(201, headers={"X-Subject-Token": "issued"}, json={"token": token})

    with httpx.Client(transport=httpx.MockTransport(respond), auth=auth) as client:
        client.get("https://service.test/", extensions=extensions)
    return seen


def keys_of(auth: httpx.Auth, *secret_keys: str) -> dict[str, str | None]:
    """What an AkSkAuth was made of; of the secret keys, the one that signed."""
    sent = sent_by(auth)
    access_key, names = sent["authorization"].split("Access=")[1].split(", ")[:2]
    headers = {name: sent.get(name, "service.test") for name in names.split("=")[1].split(";")}
    request = signing.canonical_request("GET", "/", headers, b"")
    signed = [signing.authorization(access_key, sk, request, sent["x-sdk-date"]) for sk in secret_keys]
    sk = secret_keys[signed.index(sent["authorization"])]
    project_id, security_token = sent.get("x-project-id"), sent.get("x-security-token")
    return {"ak": access_key, "sk": sk, "project_id": project_id, "security_token": security_token}


def write(home: Path, text: str | bytes, mode: int = 0o600) -> Path:
    file = home / ".huaweicloud" / "credentials"
    file.parent.mkdir()
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    file.chmod(mode)
    return file


def refusal(environ: Mapping[str, str], home: Path, region: str | None = "cn-north-4") -> str:
    """The text of the error. That nothing else of it has a secret either: test_secrets."""
    with pytest.raises(ConfigurationError) as caught:
        find_credentials(region, environ, home)
    assert SECRET not in str(caught.value)
    return str(caught.value)


# --- Which ---


@pytest.mark.parametrize(
    ("prefix", "ak", "sk"),
    [("HUAWEICLOUD_SDK", "AK", "SK"), ("HW", "ACCESS_KEY", "SECRET_KEY"), ("OS", "ACCESS_KEY", "SECRET_KEY")],
)
def test_keys_of_the_environment(tmp_path: Path, prefix: str, ak: str, sk: str) -> None:
    environ = {f"{prefix}_{name}": name for name in (ak, sk, "PROJECT_ID", "SECURITY_TOKEN")}
    whole = {"ak": ak, "sk": sk, "project_id": "PROJECT_ID", "security_token": "SECURITY_TOKEN"}
    assert keys_of(find_credentials(None, environ, tmp_path), sk) == whole
    bare = dict(list(environ.items())[:2])
    none = {"project_id": None, "security_token": None}
    assert keys_of(find_credentials(None, bare, tmp_path), sk) == {**whole, **none}


@pytest.mark.parametrize(("prefix", "login"), [("hw", HW_LOGIN), ("os", OS_LOGIN)])
def test_terraforms_password(tmp_path: Path, prefix: str, login: Mapping[str, str]) -> None:
    domain = {"name": f"{prefix}-domain"}
    user = {"name": f"{prefix}-user", "password": f"{prefix}-password", "domain": domain}
    identity = {"methods": ["password"], "password": {"user": user}}
    assert sent_by(find_credentials("cn-north-4", login, tmp_path)) == {
        "iam": "POST https://iam.cn-north-4.myhuaweicloud.com/v3/auth/tokens",
        "auth": {"identity": identity, "scope": {"domain": domain}},
        "x-auth-token": "issued",
    }
    projects = {f"{prefix.upper()}_PROJECT_ID": "p1", f"{prefix.upper()}_PROJECT_NAME": "n1"}
    auth = find_credentials(None, {**login, **projects}, tmp_path)  # gets tokens of any project
    assert sent_by(auth, project_id="p2")["auth"]["scope"] == {"project": {"id": "p2"}}


@pytest.mark.parametrize("domain", ["OS_DOMAIN_NAME", "OS_USER_DOMAIN_NAME", "OS_PROJECT_DOMAIN_NAME"])
def test_the_names_of_a_domain(tmp_path: Path, domain: str) -> None:
    environ = {"OS_PROJECT_DOMAIN_NAME": "", **OS_LOGIN, "OS_DOMAIN_NAME": ""} | {domain: "d1"}
    sent = sent_by(find_credentials("cn-north-4", environ, tmp_path))
    assert sent["auth"]["identity"]["password"]["user"]["domain"] == {"name": "d1"}


def test_a_password_goes_to_the_iam_that_is_set_but_not_over_plain_http(tmp_path: Path) -> None:
    environ = {**OS_LOGIN, "OS_AUTH_URL": "https://iam.example.com/v3"}
    sent = sent_by(find_credentials("cn-north-4", environ, tmp_path))
    assert sent["iam"] == "POST https://iam.example.com/v3/auth/tokens"
    environ["OS_AUTH_URL"] = "http://iam.example.com/v3"
    assert refusal(environ, tmp_path).startswith("plain http to iam.example.com")


def test_the_order_of_the_sources(tmp_path: Path) -> None:
    write(tmp_path, BASIC)
    environ = {**OS, "OS_AUTH_TOKEN": "t", **OS_LOGIN, **HW, "HW_AUTH_TOKEN": "t", **HW_LOGIN, **SDK}
    for source in (SDK, HW, OS):
        auth = find_credentials("cn-north-4", environ, tmp_path)
        assert keys_of(auth, *source.values())["ak"] == next(iter(source.values()))
        prefix = next(iter(source)).partition("_")[0]
        environ = {name: value for name, value in environ.items() if not name.startswith(prefix)}
    assert environ == {}
    assert keys_of(find_credentials("cn-north-4", environ, tmp_path), "file-sk")["ak"] == "file-ak"


@pytest.mark.parametrize(("prefix", "keys", "login"), [("HW", HW, HW_LOGIN), ("OS", OS, OS_LOGIN)])
def test_within_a_source_keys_come_before_a_token_and_a_token_before_a_password(
    tmp_path: Path, prefix: str, keys: Mapping[str, str], login: Mapping[str, str]
) -> None:
    token = {f"{prefix}_AUTH_TOKEN": "t1"}
    assert "authorization" in sent_by(find_credentials("cn-north-4", {**login, **token, **keys}, tmp_path))
    half_login = {next(name for name in login if "USER" in name): "u"}  # next to a token no half credential
    for more in ({}, login, half_login):
        auth = find_credentials("cn-north-4", {**more, **token}, tmp_path)
        assert sent_by(auth) == {"x-auth-token": "t1"}
    half = {f"{prefix}_ACCESS_KEY": SECRET}  # but half keys are, before a token
    assert f"but not {prefix}_SECRET_KEY" in refusal(half | token, tmp_path)


OS_KEYS = {"ak": "os-ak", "sk": "os-sk", "project_id": None, "security_token": None}


def test_what_is_no_credential_by_itself_is_passed_over(tmp_path: Path) -> None:
    others = ("HW_DOMAIN_NAME", "HW_PROJECT_ID", "HW_PROJECT_NAME", "HW_REGION_NAME")
    environ = {**dict.fromkeys(["HUAWEICLOUD_SDK_PROJECT_ID", *others], "x"), **OS}
    assert keys_of(find_credentials(None, environ, tmp_path), "os-sk") == OS_KEYS


def test_empty_values_are_absent(tmp_path: Path) -> None:
    empty = dict.fromkeys([*SDK, *HW, *HW_LOGIN, "HW_AUTH_TOKEN", "OS_SECURITY_TOKEN", FILE_VARIABLE], "")
    assert keys_of(find_credentials(None, {**empty, **OS}, tmp_path), "os-sk") == OS_KEYS
    write(tmp_path, BASIC + "security_token =\nproject_id =\n")
    of_file = {**OS_KEYS, "ak": "file-ak", "sk": "file-sk"}
    assert keys_of(find_credentials(None, empty, tmp_path), "file-sk") == of_file


# --- Half a credential ---


@pytest.mark.parametrize("region", ["cn-north-4", None])
@pytest.mark.parametrize(
    ("present", "missing"),
    [
        (["HUAWEICLOUD_SDK_AK"], ["HUAWEICLOUD_SDK_SK"]),
        (["HUAWEICLOUD_SDK_SK"], ["HUAWEICLOUD_SDK_AK"]),
        (["HUAWEICLOUD_SDK_SECURITY_TOKEN"], ["HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK"]),
        (["HW_ACCESS_KEY", "HW_SECURITY_TOKEN"], ["HW_SECRET_KEY"]),
        (["HW_USER_NAME"], ["HW_USER_PASSWORD", "HW_DOMAIN_NAME"]),
        (["HW_USER_PASSWORD"], ["HW_USER_NAME", "HW_DOMAIN_NAME"]),
        (["HW_USER_NAME", "HW_USER_PASSWORD"], ["HW_DOMAIN_NAME"]),
        (["OS_SECRET_KEY"], ["OS_ACCESS_KEY"]),
        (["OS_USERNAME"], ["OS_PASSWORD", "OS_DOMAIN_NAME or OS_USER_DOMAIN_NAME or OS_PROJECT_DOMAIN_NAME"]),
    ],
)
def test_half_a_credential_counts(
    tmp_path: Path, present: list[str], missing: list[str], region: str | None
) -> None:
    write(tmp_path, BASIC)
    later = OS if present[0].startswith("H") else {}
    text = refusal({**later, **dict.fromkeys(present, SECRET)}, tmp_path, region)
    assert text == (
        f"incomplete credentials: the environment has {', '.join(present)}, but not {', '.join(missing)}. "
        f"Add what is missing, or remove {', '.join(present)}"
    )


@pytest.mark.parametrize(("present", "missing"), [("ak", "sk"), ("sk", "ak")])
def test_half_a_credential_in_the_file(tmp_path: Path, present: str, missing: str) -> None:
    file = write(tmp_path, f"[basic]\n{present} = {SECRET}\n[global]\n{missing} = {SECRET}\n")
    assert f"[basic] of {file} has {present}, but not {missing}." in refusal({}, tmp_path)


# --- What cannot be sent ---

UNSENDABLE = [*(SECRET + end for end in ("\n", "\r\nX-Admin: 1", "é", "\x00", "\udcff")), f" {SECRET}", " "]


@pytest.mark.parametrize(
    ("name", "others"),
    [
        *((f"HUAWEICLOUD_SDK_{kind}", SDK) for kind in ("AK", "SK", "PROJECT_ID", "SECURITY_TOKEN")),
        ("HW_AUTH_TOKEN", {}),
        ("OS_ACCESS_KEY", OS),
        ("OS_PROJECT_ID", OS),
    ],
)
def test_an_unsendable_value_is_refused_by_its_name(
    tmp_path: Path, name: str, others: Mapping[str, str]
) -> None:
    text = f"{name} in the environment must be printable ASCII, without blanks or line breaks around it"
    for value in UNSENDABLE:
        assert refusal({**others, name: value}, tmp_path) == text


@pytest.mark.parametrize("name", OS_LOGIN)
def test_a_login_may_be_any_text(tmp_path: Path, name: str) -> None:
    sent = sent_by(find_credentials("cn-north-4", {**OS_LOGIN, name: " pässwörd 密码 "}, tmp_path))
    assert " pässwörd 密码 " in json.dumps(sent["auth"], ensure_ascii=False)
    text = refusal({**OS_LOGIN, name: f"{SECRET}\udcff"}, tmp_path)
    assert text == f"{name} in the environment must be UTF-8"


def test_a_line_break_in_a_value_of_the_file_is_refused_by_its_key(tmp_path: Path) -> None:
    file = write(tmp_path, f"[basic]\nak = a\nsk = {SECRET}\n  {SECRET}\n")
    assert refusal({}, tmp_path).startswith(f"sk in [basic] of {file} must be printable ASCII")


# --- The file ---


def read_by_the_sdk() -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the SDK's own
        from huaweicloudsdkcore.auth.provider import (  # type: ignore[import-untyped] # noqa: PLC0415 - see above
            ProfileCredentialProvider,
        )

        found = ProfileCredentialProvider.get_basic().get_credentials()
    return {name: getattr(found, name) for name in ("ak", "sk", "project_id", "security_token")}


@pytest.mark.parametrize(
    "text",
    [
        BASIC,
        BASIC + "project_id = p1\nsecurity_token = st\niam_endpoint = https://iam.example.com\n",
        "[DEFAULT]\nproject_id = p1\n[global]\nak = other\nsk = other\n" + BASIC,
        "; comment\n# another\n[basic]\nAK: file-ak\nSK=file-sk  \n\ndomain_id = d1\nunknown = x",
        "[basic]\nak=x%%y\nsk=a=b;c #d ;e\nproject_id=%(ak)s-1\n",
        BASIC.replace("\n", "\r\n"),
        BASIC + "idp_id = only half of what would be needed\n",
    ],
)
def test_a_file_gives_what_the_sdk_reads(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    file = write(tmp_path, text)
    expected = read_by_the_sdk()
    assert keys_of(find_credentials(None, {}, tmp_path), expected["sk"]) == expected
    moved = str(file.rename(tmp_path / "elsewhere"))
    monkeypatch.setenv(FILE_VARIABLE, moved)
    assert read_by_the_sdk() == expected
    assert keys_of(find_credentials(None, {FILE_VARIABLE: moved}, tmp_path), expected["sk"]) == expected


def test_a_file_that_an_editor_on_windows_wrote(tmp_path: Path) -> None:
    write(tmp_path, BASIC.replace("\n", "\r\n").encode("utf-8-sig"))
    assert keys_of(find_credentials(None, {}, tmp_path), "file-sk")["ak"] == "file-ak"


def test_the_file_is_not_looked_at_when_the_environment_has_credentials(tmp_path: Path) -> None:
    write(tmp_path, "no INI", mode=0o666)
    assert keys_of(find_credentials(None, SDK, tmp_path), "sdk-sk")["ak"] == "sdk-ak"


def test_without_a_home_folder_the_environment_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert keys_of(find_credentials(None, SDK), "sdk-sk")["ak"] == "sdk-ak"
    assert find_project_id({"HW_PROJECT_ID": "p1"}) == "p1"
    assert find_project_id({}) is None
    with pytest.raises(ConfigurationError, match=r"no credentials.* \[basic\] of ~/.huaweicloud/credentials"):
        find_credentials(None, {})


def test_a_file_that_is_named_must_be_there_and_any_file_must_be_readable(tmp_path: Path) -> None:
    file = tmp_path / ".huaweicloud" / "credentials"
    file.mkdir(parents=True)
    assert refusal({}, tmp_path) == f"{file} cannot be read: Is a directory"
    text = f"{tmp_path}/gone cannot be read: No such file or directory; {FILE_VARIABLE} names it"
    assert refusal({FILE_VARIABLE: f"{tmp_path}/gone"}, tmp_path) == text


NO_LINE, TWICE = "this is neither [section] nor key = value", "this section or key is a duplicate"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"ak = {SECRET}\n[basic]\n", f"1: {NO_LINE}"),
        (f"[basic]\nak = a\n{SECRET}\nsk = b\n{SECRET}\n", f"3: {NO_LINE}"),
        (f"[basic]\nak = a\n= {SECRET}\n", f"3: {NO_LINE}"),
        (f"[basic]\nak = a\nsk = b\nsk = {SECRET}\n", f"4: {TWICE}"),
        (f"[basic]\nak = {SECRET}\n[basic]\n", f"3: {TWICE}"),
        (f"[basic]\nak = a\nsk = {SECRET}".encode() + b"\xff\n", "3: this is not UTF-8"),
        (BASIC.encode("utf-16"), "1: this is not UTF-8"),
        *(
            (f"[basic]\nak = a\nsk = {value}\n", " sk of [basic]: write %% for a %")
            for value in (f"{SECRET}%x", f"%({SECRET})s", "%(sk)s")
        ),
    ],
)
def test_an_invalid_file_is_refused_by_its_line(tmp_path: Path, text: str | bytes, problem: str) -> None:
    file = write(tmp_path, text)
    assert refusal({}, tmp_path) == f"{file}:{problem}"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o600, 0o400, 0o700, 0o611])
def test_a_file_open_to_others_is_warned_of(tmp_path: Path, mode: int) -> None:
    file = write(tmp_path, f"[basic]\nak = {SECRET}\nsk = {SECRET}\n", mode)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        find_credentials(None, {}, tmp_path)
    expected = [(f"others can read or change your credentials: chmod 600 {file}", __file__)]
    assert [(str(each.message), each.filename) for each in caught] == (expected if mode & 0o066 else [])


@pytest.mark.parametrize(
    ("environ", "of_file", "found"),
    [
        ({"HUAWEICLOUD_SDK_PROJECT_ID": "sdk", "HW_PROJECT_ID": "hw", "OS_PROJECT_ID": "os"}, "file", "sdk"),
        ({"HUAWEICLOUD_SDK_PROJECT_ID": "", "HW_PROJECT_ID": "hw", "OS_PROJECT_ID": "os"}, "file", "hw"),
        ({"OS_PROJECT_ID": "os"}, "file", "os"),
        ({}, "file", "file"),
        ({}, "", None),
    ],
)
def test_a_project_id_is_looked_for_where_credentials_are(
    tmp_path: Path, environ: Mapping[str, str], of_file: str, found: str | None
) -> None:
    write(tmp_path, f"{BASIC}project_id = {of_file}\n")
    assert find_project_id(environ, tmp_path) == found


# --- None ---


@pytest.mark.parametrize(
    "text", [None, "no folder", "", "[global]\nak = a\nsk = b\n", "[basic]\n", "[basic]\nproject_id = p1\n"]
)
def test_without_credentials_the_error_names_all_places(tmp_path: Path, text: str | None) -> None:
    if text == "no folder":
        (tmp_path / ".huaweicloud").touch()
    elif text is not None:
        write(tmp_path, text)
    text = refusal({}, tmp_path)
    for part in ("no credentials", "HUAWEICLOUD_SDK_AK, HW_ACCESS_KEY, HW_AUTH_TOKEN, HW_USER_NAME, OS_ACCESS_KEY",
                 f"[basic] of {tmp_path}/.huaweicloud/credentials", "give credentials="):  # fmt: skip
        assert part in text


def test_credentials_that_only_the_sdk_supports_are_named(tmp_path: Path) -> None:
    environ = dict.fromkeys(["HUAWEICLOUD_SDK_IDP_ID", "HW_SHARED_CONFIG_FILE"], SECRET)
    environ["HUAWEICLOUD_OIDC_PROVIDER_URN"] = ""
    named = ". Set, but not supported: HUAWEICLOUD_SDK_IDP_ID, HW_SHARED_CONFIG_FILE"
    assert refusal(environ, tmp_path).endswith(named)
    file = write(tmp_path, f"[basic]\nidp_id = {SECRET}\nid_token_file = {SECRET}\n")
    text = f"[basic] of {file} has idp_id and id_token_file, which is not supported. Set HUAWEICLOUD_SDK_AK"
    assert refusal(environ, tmp_path).startswith(text)
