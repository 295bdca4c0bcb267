"""Where a service is: the hosts of the spec, unless a setting has another."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from huaweicloud_retry.endpoints import IAM_REGIONS, find_region, iam_url, service_url, url_problem
from huaweicloud_retry.runtime.errors import ConfigurationError
from huaweicloud_retry_client.servers import SERVERS

SECRET = "s3cr3t-canary"


def refusal(*arguments: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        service_url(*arguments)
    return str(caught.value)


# --- Services and regions ---


@pytest.mark.parametrize("service", ["cse", "CSE", "Cse", "workspace", "Workspace"])
def test_a_service_may_be_written_in_any_case_and_every_region_of_the_spec_has_a_host(service: str) -> None:
    for region in SERVERS[service.lower()][1]:
        url = service_url(service, region, {})
        assert url == f"https://{service.lower()}.{region}.myhuaweicloud.com"
        assert url_problem(url, allow_http=False) is None


@pytest.mark.parametrize(
    ("service", "says"),
    [
        ("csee", "; did you mean 'cse'? There are: cse, workspace"),
        ("WORKSPACES", "; did you mean 'workspace'? There are: cse, workspace"),
        *((odd, "; there are: cse, workspace") for odd in ("", "ecs-of-old", "{region}")),
    ],
)
def test_an_unknown_service_is_refused_with_the_closest_and_all(service: str, says: str) -> None:
    assert refusal(service, "cn-north-4", {}) == f"there is no service {service!r}{says}"


@pytest.mark.parametrize(
    ("region", "of_hw", "of_os", "expected"),
    [
        ("cn-east-3", "cn-north-4", "cn-south-1", "cn-east-3"),
        (None, "cn-north-4", "cn-south-1", "cn-north-4"),
        (None, "", "cn-south-1", "cn-south-1"),
        ("", "", "cn-south-1", "cn-south-1"),
    ],
)
def test_the_region_is_the_argument_or_terraforms(
    region: str | None, of_hw: str, of_os: str, expected: str
) -> None:
    environ = {"HW_REGION_NAME": of_hw, "OS_REGION_NAME": of_os}
    assert find_region(region, environ) == expected
    assert service_url("cse", region, environ) == f"https://cse.{expected}.myhuaweicloud.com"


@pytest.mark.parametrize("environ", [{}, {"HW_REGION_NAME": "", "OS_REGION_NAME": ""}])
def test_without_a_region_the_error_names_all_ways_to_give_one(environ: Mapping[str, str]) -> None:
    assert find_region(None, environ) is None
    assert refusal("cse", None, environ) == "no region: give region=, or set HW_REGION_NAME or OS_REGION_NAME"


@pytest.mark.parametrize("where", ["region=", "HW_REGION_NAME", "OS_REGION_NAME"])
def test_an_unknown_region_is_refused_with_its_origin_the_closest_and_all(where: str) -> None:
    region = "cn-nroth-4" if where == "region=" else None
    text = refusal("Workspace", region, {where: "cn-nroth-4"})
    assert f"no region 'cn-nroth-4' ({where}); did you mean 'cn-north-4'? There are: af-" in text
    assert all(each in text for each in SERVERS["workspace"][1])
    assert text.endswith("; endpoint= takes any host")


# --- The SDK's override ---


GIVEN = "https://a.example.com"


@pytest.mark.parametrize(
    ("service", "region", "variable", "value", "expected"),
    [
        ("cse", "cn-north-4", "CSE_CN_NORTH_4", GIVEN, GIVEN),
        ("Cse", "moon-1", "CSE_MOON_1", f"{GIVEN}/", GIVEN),
        ("workspace", "moon-1", "WORKSPACE_MOON_1", f" {GIVEN} , https://b", GIVEN),
        ("workspace", "moon-1", "WORKSPACE_MOON_1", "a.example.com,b.example.com", GIVEN),
        ("cse", "moon-1", "CSE_MOON_1", "http://127.0.0.1:8000/cse", "http://127.0.0.1:8000/cse"),
    ],
)
def test_the_sdks_override_comes_first_and_for_any_region(
    service: str, region: str, variable: str, value: str, expected: str
) -> None:
    environ = {f"HUAWEICLOUD_SDK_REGION_{variable}": value}
    assert service_url(service, region, environ) == expected
    assert service_url(service, None, {**environ, "HW_REGION_NAME": region}) == expected


def test_an_override_for_another_service_or_region_or_an_empty_one_is_none() -> None:
    names = ("CSE_CN_NORTH_4", "WORKSPACE_CN_NORTH_1")
    environ = {f"HUAWEICLOUD_SDK_REGION_{name}": GIVEN for name in names}
    environ["HUAWEICLOUD_SDK_REGION_WORKSPACE_CN_NORTH_4"] = ""
    assert service_url("workspace", "cn-north-4", environ) == "https://workspace.cn-north-4.myhuaweicloud.com"


BAD_URLS = [
    f"https://user:{SECRET}@example.com",
    f"https://user:{SECRET}\N{FULLWIDTH NUMBER SIGN}@example.com",  # the text of urlsplit's own error has it all
    f"https://example.com?token={SECRET}",
    f"https://example.com#{SECRET}",
    f"ftp://{SECRET}.example.com",
    f"https:///{SECRET}",
    f"https://{SECRET}:99999999",
    f"https://{SECRET}:0",
    f"https://[{SECRET}",
    f"https://example.com/{SECRET} x",
    f"ht\ntps://{SECRET}",
    "://",
]


@pytest.mark.parametrize("url", [*BAD_URLS, ",https://a.example.com"])
def test_an_override_that_is_no_url_is_refused_by_the_name_of_its_variable(url: str) -> None:
    text = refusal("cse", "moon-1", {"HUAWEICLOUD_SDK_REGION_CSE_MOON_1": url})
    assert text.startswith("HUAWEICLOUD_SDK_REGION_CSE_MOON_1 must be an http(s) URL, such as https://cse.")
    assert SECRET not in text


# --- Plain http ---


HERE = ["http://127.0.0.1:8000", "http://127.255.0.9", "http://[::1]:8000", "http://localhost:8000/x"]


@pytest.mark.parametrize(
    "url", [*HERE, "HTTP://LOCALHOST", "HTTPS://a.example.com:8443/x", "https://[2001:db8::1]:1"]
)
def test_https_and_plain_http_to_this_machine_are_allowed(url: str) -> None:
    assert url_problem(url, allow_http=False) is None


# These look like this machine to some parsers, and are not.
ELSEWHERE = [f"http://{host}.example.com" for host in ("a", "127.0.0.1", "localhost")]
ELSEWHERE += [f"http://{host}" for host in ("10.0.0.1", "0.0.0.0", "128.0.0.1", "[::2]", "my-localhost")]
DISGUISED = [
    "127.0.0.1@example.com",
    "example.com#@127.0.0.1",
    "[::1].example.com",
    "127.0.0.1\\.example.com",
]
DISGUISED += ["localhost%2eexample.com", "exa\nmple.com", "local\thost"]


@pytest.mark.parametrize("url", ELSEWHERE)
def test_plain_http_elsewhere_is_refused_unless_allowed(url: str) -> None:
    host = httpx.URL(url).host
    problem = url_problem(url, allow_http=False)
    assert problem is not None
    assert problem.startswith(f"plain http to {host} would send the credentials unencrypted")
    assert "use https, or allow_http=True" in problem
    assert url_problem(url, allow_http=True) is None


INVALID = [*BAD_URLS, *(f"http://{host}" for host in DISGUISED), "\x01http://localhost"]


@pytest.mark.parametrize("url", [*INVALID, "", "localhost:8000", "//localhost"])
def test_an_invalid_url_is_refused_and_not_shown(url: str) -> None:
    for allow_http in (False, True):
        problem = url_problem(url, allow_http=allow_http)
        assert problem is not None
        assert SECRET not in problem


# --- IAM ---


def test_iam_has_the_hosts_that_the_sdk_knows() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the SDK's own
        from huaweicloudsdkcore.auth import endpoint  # type: ignore[import-untyped] # noqa: PLC0415 - see above
    assert {region: iam_url(region, {}) for region in IAM_REGIONS} == vars(endpoint)["__IAM_ENDPOINT_DICT"]


@pytest.mark.parametrize("region", [None, "", "eu-west-101", "cn-north-11", "moon-1", "a.example.com/"])
def test_iam_of_another_region_is_the_global_one(region: str | None) -> None:
    assert iam_url(region, {}) == "https://iam.myhuaweicloud.com"


def test_iam_takes_the_region_of_the_environment() -> None:
    assert iam_url(None, {"OS_REGION_NAME": "cn-east-3"}) == "https://iam.cn-east-3.myhuaweicloud.com"


@pytest.mark.parametrize("variable", ["HUAWEICLOUD_SDK_IAM_ENDPOINT", "HW_AUTH_URL", "OS_AUTH_URL"])
def test_iam_may_be_set(variable: str) -> None:
    for end in ("", "/", "/v3", "/v3/"):
        assert iam_url("cn-north-4", {variable: GIVEN + end}) == GIVEN
    for url in BAD_URLS:
        with pytest.raises(ConfigurationError, match=rf"^{variable} must be an http\(s\) URL") as caught:
            iam_url("cn-north-4", {variable: url})
        assert SECRET not in str(caught.value)


def test_of_several_settings_of_iam_the_first_counts() -> None:
    environ = {"OS_AUTH_URL": "https://3.example.com/v3"}
    assert iam_url(None, environ) == "https://3.example.com"
    environ["HW_AUTH_URL"] = "https://2.example.com/identity/v3"
    assert iam_url(None, environ) == "https://2.example.com/identity"
    environ["HUAWEICLOUD_SDK_IAM_ENDPOINT"] = "1.example.com"
    assert iam_url(None, environ) == "https://1.example.com"
    environ["HUAWEICLOUD_SDK_IAM_ENDPOINT"] = ""
    assert iam_url(None, environ) == "https://2.example.com/identity"
