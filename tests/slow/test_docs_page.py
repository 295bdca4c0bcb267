"""The mock's page /docs as a reader meets it: in a real Chromium, without a window.

The browser is the machine's own; where there is none, these tests are skipped and say so.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import httpx
import pytest
from playwright.sync_api import Browser, Error, Locator, Page, expect

from huaweicloud_retry.cli import main
from huaweicloud_retry.mock import running
from tests.browser import Visit, chromium
from tests.mocks import CONTRACT, ENGINE, TASK, plain_client, process


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium("--host-resolver-rules=MAP evil.test 127.0.0.1") as browser:  # as its owner can have it
        yield browser


@pytest.fixture(scope="module")
def shared_url() -> Iterator[str]:
    with running() as url:
        yield url


@pytest.fixture
def url(shared_url: str) -> str:
    """The URL of a mock as it starts."""
    httpx.post(f"{shared_url}/_mock/reset", trust_env=False)
    return shared_url


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        yield Visit(context.new_page())


def open_docs(page: Page, url: str, fragment: str = "") -> None:
    """Go to the page and wait until Swagger UI shows every operation."""
    page.goto(f"{url}/docs{fragment}")
    expect(page.locator(".opblock")).to_have_count(len(CONTRACT.operations))


def operation(page: Page, tag: str, name: str) -> Locator:
    """Unfold an operation."""
    block = page.locator(f"#operations-{tag}-{name}")
    block.locator(".opblock-summary-control").click()
    expect(block.get_by_role("button", name="Execute")).to_be_visible()
    return block


def execute(block: Locator) -> None:
    block.get_by_role("button", name="Execute").click()


def expect_response(block: Locator, status: int, text: str) -> None:
    response = block.locator(".live-responses-table tbody")
    expect(response.locator("> .response > .response-col_status")).to_have_text(str(status))
    expect(response).to_contain_text(text)


def test_the_page_loads_from_the_mock_alone_and_its_links_lead_somewhere(visit: Visit, url: str) -> None:
    page = visit.page
    open_docs(page, url)
    page.wait_for_load_state("networkidle")
    assert visit.complaints == []
    assert {"/".join(request.split("/")[:3]) for request in visit.requests} == {url}
    expect(page).to_have_title("Huawei Cloud retry operations: mock")
    expect(page.get_by_role("heading", name="This is a mock, not the live service")).to_be_visible()
    paths = [link.get_attribute("href") for link in page.locator("header a").all()]
    assert paths == ["/openapi.yaml", "/openapi.json", "/_mock/health", "/_mock/state", "/_mock/request-log"]
    for path in paths:
        assert page.request.get(f"{url}{path}").status == 200, path


def test_the_page_may_load_nothing_but_its_own_files(visit: Visit, url: str) -> None:
    open_docs(visit.page, url)
    image = "document.body.append(Object.assign(new Image(), {src: 'http://outside.invalid/'}))"
    with visit.page.expect_event("requestfailed") as blocked:
        visit.page.evaluate(image)
    assert blocked.value.failure == "csp"


def test_execute_sends_what_the_spec_shows_and_a_second_time_is_refused(visit: Visit, url: str) -> None:
    open_docs(visit.page, url, "#/CSE/RetryEngine")  # a link straight to an operation
    engine = visit.page.locator("#operations-CSE-RetryEngine")
    with visit.page.expect_request("**/actions") as caught:
        execute(engine)
    sent, headers = caught.value, caught.value.all_headers()
    assert (sent.method, sent.url, sent.post_data_json) == ("PUT", f"{url}{ENGINE}", {"action": "Retry"})
    assert headers["content-type"] == "application/json;charset=UTF-8"
    assert (headers["accept"], headers["x-auth-token"]) == ("application/json", "mock-token")
    assert "authorization" not in headers
    expect_response(engine, 200, '"jobId": 18638')
    assert visit.complaints == []
    execute(engine)
    expect_response(engine, 400, "SVCSTG.00501149")
    (complaint,) = visit.complaints
    assert "status of 400" in complaint


def test_each_operation_can_be_executed_on_a_phone_and_its_curl_line_names_the_mock(
    visit: Visit, url: str
) -> None:
    visit.page.set_viewport_size({"width": 400, "height": 800})
    open_docs(visit.page, url)
    expect(visit.page.locator(".servers option")).to_have_text([f"{url} - This mock"])
    for each in CONTRACT.operations:
        block = operation(visit.page, each.tags[0], each.id)
        execute(block)
        expect_response(block, 200, TASK if each.id == "RetryScriptExecution" else "0")
        expect(block.locator(".curl-command")).to_contain_text(f"'{url}/v2/demo-project/")
        expect(block.locator(".curl-command")).not_to_contain_text("myhuaweicloud.com")
    assert visit.complaints == []
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 400


@pytest.mark.parametrize(("bodies", "unchecked"), [("embed", 0), ("attach", 4), ("omit", 4)])
def test_what_the_browser_records_can_be_verified(
    browser: Browser,
    url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    bodies: Literal["embed", "attach", "omit"],
    unchecked: int,
) -> None:
    file = tmp_path / "traffic.har"
    with browser.new_context(record_har_path=file, record_har_content=bodies) as context:
        page = context.new_page()
        open_docs(page, url)
        for tag, name in (("CSE", "RetryEngine"), ("Workspace", "RetryScriptExecution")):
            block = operation(page, tag, name)
            execute(block)
            expect_response(block, 200, "0")
    assert main(["verify", str(file)]) == 0
    *unread, engine, script, rest = capsys.readouterr().out.splitlines()
    assert engine == "RetryEngine: requests 1, deviations 0"
    assert script == "RetryScriptExecution: requests 1, deviations 0"
    assert re.match(rf"not checked: parts of entries {unchecked}, .* [1-9]", rest)
    assert len(unread) == unchecked


def test_a_state_file_has_its_own_credentials_on_the_page_and_none_filled_in(
    visit: Visit, tmp_path: Path
) -> None:
    state = tmp_path / "state.yaml"
    state.write_text(
        "projects: {}\ncredentials: {users: {ann: {password: s3cret, domain: d}}}", encoding="utf-8"
    )
    with running(state=state) as url:
        open_docs(visit.page, url)
        expect(visit.page.locator("header dl")).to_contain_text("ann")
        expect(visit.page.locator("body")).not_to_contain_text("mock-user")
        engine = operation(visit.page, "CSE", "RetryEngine")
        with visit.page.expect_request("**/actions") as caught:
            execute(engine)
        assert "x-auth-token" not in caught.value.all_headers()
        expect_response(engine, 401, "APIGW.0301")


# --- Pages of others ---

SEND = """async ([url, path, method, body, type, mode]) => {
    const headers = type ? { "Content-Type": type } : {};
    const response = await fetch(url + path, { method, mode, headers, body });
    return response.type === "opaque" ? "sent, not readable" : [response.status, await response.text()].join(" ");
}"""
CHANGES = [
    ("POST", "/_mock/reset", ""),
    ("POST", "/_mock/faults", '{"status": 504}'),
    ("POST", "/_mock/clock", '{"advance": 1}'),
    ("PUT", "/_mock/state", '{"projects": {}}'),
]
READ = ("/_mock/request-log", "GET", None, "", "cors")


@pytest.fixture
def elsewhere(browser: Browser) -> Iterator[Page]:
    """A page of another origin on this machine."""
    with running() as other, browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{other.replace('127.0.0.1', 'localhost')}/_mock/health")  # no policy there stops it
        yield page


def test_a_page_of_another_origin_reads_and_changes_nothing(elsewhere: Page, url: str) -> None:
    with plain_client(url) as client:
        client.post("/_mock/faults", json={"status": 503, "times": 5})
        client.post("/_mock/clock", json={"advance": 60})
        before = [client.get(f"/_mock/{page}").json() for page in ("state", "faults")]
        for method, path, body in CHANGES:
            for kind, mode in ("text/plain", "no-cors"), ("", "no-cors"), ("application/json", "cors"):
                with suppress(Error):  # it learns no more than that it failed
                    assert (
                        elsewhere.evaluate(SEND, [url, path, method, body, kind, mode])
                        == "sent, not readable"
                    )
            assert [client.get(f"/_mock/{page}").json() for page in ("state", "faults")] == before, path
        with pytest.raises(Error, match="Failed to fetch"):
            elsewhere.evaluate(SEND, [url, *READ])


def test_a_page_of_the_origin_that_cors_names_may(elsewhere: Page) -> None:
    origin = elsewhere.evaluate("location.origin")
    with process("--quiet", "--cors", origin) as (url, _):
        reset = [url, "/_mock/reset", "POST", "{}", "application/json", "cors"]
        assert elsewhere.evaluate(SEND, reset) == "204 "
        assert elsewhere.evaluate(SEND, [url, *READ]).startswith('200 {"count": 0')


def test_a_name_that_resolves_to_this_machine_reads_and_changes_nothing(visit: Visit, url: str) -> None:
    """DNS rebinding: to the browser, page and mock are of one origin."""
    evil = url.replace("127.0.0.1", "evil.test")
    opened = visit.page.goto(f"{evil}/_mock/request-log")
    assert opened is not None
    assert (opened.status, "--allow-host" in opened.text()) == (403, True)
    for method, path, body in [*CHANGES, ("GET", "/_mock/state", None), ("POST", "/v3/auth/tokens", "{}")]:
        said = visit.page.evaluate(SEND, [evil, path, method, body, "application/json", "cors"])
        assert said.startswith('403 {"error_code": "MOCK.403"'), (method, path)
