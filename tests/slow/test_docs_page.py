"""The mock's page /docs as a reader meets it: in a real Chromium, without a window.

The browser is the machine's own; where there is none, these tests are skipped and say so.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Locator, Page, Request, expect

from huaweicloud_retry.cli import main
from huaweicloud_retry.mock import running
from tests.browser import chromium
from tests.mocks import CONTRACT, process

ENGINE_ID = "4a1bc63d-4719-4bd3-b1ad-5ee590b05e87"


@dataclass
class Visit:
    """A page of a fresh browser profile, and all that its browser noticed meanwhile."""

    page: Page
    url: str
    """Of the mock, without a slash at its end."""
    requests: list[Request] = field(default_factory=list[Request])
    complaints: list[str] = field(default_factory=list[str])
    """Errors and warnings of the console, uncaught exceptions, requests without an answer."""

    def watch(self) -> None:
        context = self.page.context
        context.on("request", self._request)
        context.on("console", self._console)
        context.on("weberror", lambda error: self.complaints.append(f"uncaught: {error.error}"))
        context.on(
            "requestfailed",
            lambda request: self.complaints.append(f"failed: {request.url} {request.failure}"),
        )

    def _request(self, request: Request) -> None:
        self.requests.append(request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.type}: {message.text}")

    def open(self, fragment: str = "") -> None:
        """Go to the page and wait until Swagger UI shows every operation."""
        self.page.goto(f"{self.url}/docs{fragment}")
        expect(self.page.locator(".opblock")).to_have_count(len(CONTRACT.operations))

    def operation(self, tag: str, name: str) -> Locator:
        """Unfold an operation."""
        block = self.page.locator(f"#operations-{tag}-{name}")
        block.locator(".opblock-summary-control").click()
        expect(block.get_by_role("button", name="Execute")).to_be_visible()
        return block

    def origins(self) -> set[str]:
        return {"/".join(request.url.split("/")[:3]) for request in self.requests}


def execute(block: Locator) -> None:
    block.get_by_role("button", name="Execute").click()


def expect_answer(block: Locator, status: int, text: str) -> None:
    answer = block.locator(".live-responses-table tbody")
    expect(answer.locator("> .response > .response-col_status")).to_have_text(str(status))
    expect(answer).to_contain_text(text)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(
        "--host-resolver-rules=MAP evil.test 127.0.0.1"
    ) as browser:  # as who owns the name can have it
        yield browser


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    with running() as url, browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        visit = Visit(context.new_page(), url)
        visit.watch()
        yield visit


def test_the_page_loads_without_a_complaint_and_from_the_mock_alone(visit: Visit) -> None:
    visit.open()
    visit.page.wait_for_load_state("networkidle")
    assert visit.complaints == []
    assert visit.origins() == {visit.url}
    expect(visit.page).to_have_title("Huawei Cloud retry operations: mock")
    expect(visit.page.get_by_role("heading", name="This is a mock, not the live service")).to_be_visible()
    expect(visit.page.locator(".info .title")).to_contain_text("Huawei Cloud retry operations")


def test_the_banner_leads_to_pages_that_exist(visit: Visit) -> None:
    visit.open()
    links = visit.page.locator("header a").all()
    paths = [link.get_attribute("href") for link in links]
    assert paths == ["/openapi.yaml", "/openapi.json", "/_mock/health", "/_mock/state", "/_mock/request-log"]
    for path in paths:
        assert visit.page.request.get(f"{visit.url}{path}").status == 200, path


def test_the_page_may_load_nothing_but_its_own_files(visit: Visit) -> None:
    for path in (
        "/docs",
        "/docs/docs.js",
        "/docs/docs.css",
        "/docs/swagger-ui-bundle.js",
        "/docs/swagger-ui.css",
    ):
        answer = visit.page.request.get(f"{visit.url}{path}")
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy, path
        assert "unsafe" not in policy, path
    visit.open()
    with visit.page.expect_event("requestfailed") as blocked:
        visit.page.evaluate(
            "document.body.append(Object.assign(new Image(), {src: 'http://outside.invalid/'}))"
        )
    assert blocked.value.failure == "csp"


def test_execute_retries_the_engines_job_once_and_is_then_refused(visit: Visit) -> None:
    visit.open()
    engine = visit.operation("CSE", "RetryEngine")
    execute(engine)
    expect_answer(engine, 200, '"jobId": 18638')
    assert visit.complaints == []
    execute(engine)
    expect_answer(engine, 400, "SVCSTG.00501149")
    assert visit.complaints == [
        "error: Failed to load resource: the server responded with a status of 400 (Bad Request)"
    ]
    assert visit.origins() == {visit.url}


def test_what_execute_sends_for_the_engine_is_what_the_spec_shows(visit: Visit) -> None:
    visit.open()
    engine = visit.operation("CSE", "RetryEngine")
    with visit.page.expect_request("**/actions") as caught:
        execute(engine)
    sent = caught.value
    assert (sent.method, sent.url) == (
        "PUT",
        f"{visit.url}/v2/demo-project/enginemgr/engines/{ENGINE_ID}/actions",
    )
    assert sent.post_data_json == {"action": "Retry"}
    headers = sent.all_headers()
    assert headers["content-type"] == "application/json;charset=UTF-8"
    assert headers["accept"] == "application/json"
    assert headers["x-auth-token"] == "mock-token"
    assert "authorization" not in headers


def test_execute_retries_the_script(visit: Visit) -> None:
    visit.open()
    script = visit.operation("Workspace", "RetryScriptExecution")
    execute(script)
    expect_answer(script, 200, '"task_id": "0000000059071dbc01591661d3990019"')
    assert visit.complaints == []
    assert visit.origins() == {visit.url}


each_operation = pytest.mark.parametrize(
    ("tag", "name"), [(each.tags[0], each.id) for each in CONTRACT.operations]
)


@each_operation
def test_the_curl_line_names_the_mock(visit: Visit, tag: str, name: str) -> None:
    visit.open()
    block = visit.operation(tag, name)
    execute(block)
    curl = block.locator(".curl-command")
    expect(curl).to_contain_text(f"'{visit.url}/v2/demo-project/")
    expect(curl).not_to_contain_text("myhuaweicloud.com")
    expect(visit.page.locator(".servers option")).to_have_text([f"{visit.url} - This mock"])


def test_a_link_straight_to_an_operation_opens_it_ready_to_execute(visit: Visit) -> None:
    visit.open("#/CSE/RetryEngine")
    engine = visit.page.locator("#operations-CSE-RetryEngine")
    execute(engine)
    expect_answer(engine, 200, '"jobId": 18638')


def test_the_page_fits_a_phone(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 400, "height": 800})
    visit.open()
    for each in CONTRACT.operations:
        block = visit.operation(each.tags[0], each.id)
        execute(block)
        expect_answer(block, 200, "0")
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 400


@pytest.mark.parametrize(("bodies", "unchecked"), [("embed", 0), ("attach", 4), ("omit", 4)])
def test_what_the_browser_records_of_the_page_can_be_verified(
    browser: Browser,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    bodies: Literal["embed", "attach", "omit"],
    unchecked: int,
) -> None:
    file = tmp_path / "traffic.har"
    with (
        running() as url,
        browser.new_context(
            record_har_path=file, record_har_content=bodies, viewport={"width": 1280, "height": 900}
        ) as context,
    ):
        visit = Visit(context.new_page(), url)
        visit.open()
        for tag, name in (("CSE", "RetryEngine"), ("Workspace", "RetryScriptExecution")):
            block = visit.operation(tag, name)
            execute(block)
            expect_answer(block, 200, "0")
    assert main(["verify", str(file)]) == 0
    *unread, engine, script, rest = capsys.readouterr().out.splitlines()
    assert (engine, script) == (
        "RetryEngine: requests 1, deviations 0",
        "RetryScriptExecution: requests 1, deviations 0",
    )
    assert re.match(
        rf"not checked: parts of entries {unchecked}, entries of other APIs or with OPTIONS [1-9]", rest
    )
    assert len(unread) == unchecked


def test_a_state_file_has_its_own_credentials_on_the_page_and_none_filled_in(
    browser: Browser, tmp_path: Path
) -> None:
    state = tmp_path / "state.yaml"
    state.write_text(
        "projects: {}\ncredentials: {users: {ann: {password: s3cret, domain: d}}}", encoding="utf-8"
    )
    with running(state=state) as url, browser.new_context() as context:
        visit = Visit(context.new_page(), url)
        visit.watch()
        visit.open()
        expect(visit.page.locator("header dl")).to_contain_text("ann")
        expect(visit.page.locator("body")).not_to_contain_text("mock-user")
        engine = visit.operation("CSE", "RetryEngine")
        with visit.page.expect_request("**/actions") as caught:
            execute(engine)
        assert "x-auth-token" not in caught.value.all_headers()
        expect_answer(engine, 401, "APIGW.0301")


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
        page.goto(
            f"{other.replace('127.0.0.1', 'localhost')}/_mock/health"
        )  # which has no policy that stops it
        yield page


@pytest.mark.parametrize(("method", "path", "body"), CHANGES, ids=[path for _, path, _ in CHANGES])
def test_a_page_of_another_origin_changes_nothing(elsewhere: Page, method: str, path: str, body: str) -> None:
    with running() as url, httpx.Client(base_url=url, trust_env=False) as client:
        client.post("/_mock/faults", json={"status": 503, "times": 5})
        client.post("/_mock/clock", json={"advance": 60})
        pages = [f"/_mock/{page}" for page in ("state", "faults")]
        before = [client.get(page).json() for page in pages]
        for kind, mode in ("text/plain", "no-cors"), ("", "no-cors"), ("application/json", "cors"):
            with suppress(Error):  # it is told no more than that it failed
                assert elsewhere.evaluate(SEND, [url, path, method, body, kind, mode]) == "sent, not readable"
        assert [client.get(page).json() for page in pages] == before
        with pytest.raises(Error, match="Failed to fetch"):
            elsewhere.evaluate(SEND, [url, *READ])


def test_a_page_of_the_origin_that_cors_names_may(elsewhere: Page) -> None:
    origin = elsewhere.evaluate("location.origin")
    with process("--quiet", "--cors", origin) as (url, _):
        asked = [url, "/_mock/reset", "POST", "{}", "application/json", "cors"]
        assert elsewhere.evaluate(SEND, asked) == "204 "
        assert elsewhere.evaluate(SEND, [url, *READ]).startswith('200 {"count": 0')


def test_a_name_that_is_pointed_at_this_machine_reads_and_changes_nothing(browser: Browser) -> None:
    """DNS rebinding: to the browser, page and mock are of one origin."""
    with running() as url, browser.new_context() as context:
        page = context.new_page()
        evil = url.replace("127.0.0.1", "evil.test")
        opened = page.goto(f"{evil}/_mock/request-log")
        assert opened is not None
        assert (opened.status, "--allow-host" in opened.text()) == (403, True)
        for method, path, body in [
            *CHANGES,
            ("GET", "/_mock/state", None),
            ("POST", "/v3/auth/tokens", "{}"),
        ]:
            said = page.evaluate(SEND, [evil, path, method, body, "application/json", "cors"])
            assert said.startswith('403 {"error_code": "MOCK.403"'), (method, path)
