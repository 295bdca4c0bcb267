"""The page of `hwc-retry report --html` as a reader meets it. Without a browser: tests/unit/test_report.py."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Locator, expect

from huaweicloud_retry.bulk import Item, Outcome, Verdict
from huaweicloud_retry.bulk.journal import Journal
from huaweicloud_retry.bulk.report import LISTED
from huaweicloud_retry.cli import main
from tests.browser import Visit, chromium, contrast, luminance

NOON = 1_700_049_600.0  # 2023-11-15 12:00:00 UTC
HOSTILE = (
    "<script>document.title = 'gone'</script><img src=http://outside.invalid/x onerror=\"document.title='gone'\">"
    "</td></table></svg><style>*{display:none}</style><a href=javascript:alert(1)>x</a>"
)


def engine(number: int) -> Item:
    return Item(operation="RetryEngine", project_id="p", engine_id=f"engine-{number:04}", region="cn-north-4")


def record(number: int) -> Item:
    return Item(operation="RetryScriptExecution", project_id="p", record_id=f"record-{number:04}")


def outcome(item: Item, verdict: Verdict, at: float, message: str = "job 1", **others: Any) -> Outcome:
    times = {"started_at": NOON + at, "seconds": 0.2}
    return Outcome(item=item, verdict=verdict, message=message, **{**times, **others})


def two_runs() -> Iterator[Outcome]:
    """9,000 outcomes of a minute and a half, a pause of an hour, and 1,000 more."""
    for number in range(10_000):
        at = number / 100 + (3600 if number >= 9000 else 0)
        item = engine(number) if number % 4 else record(number)
        if number % 100 == 7:
            message = "504 APIG.0201: Backend timeout"
            yield outcome(item, "unknown", at, message, seconds=30.0, status=504, error_code="APIG.0201")
        elif number % 20 == 3:
            message = f"400 SVC.1: {item.name} is busy"
            yield outcome(item, "refused", at, message, status=400, error_code="SVC.1")
        else:
            yield outcome(item, "accepted", at, seconds=0.1 + number % 37 / 100)


Open = Callable[..., Visit]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def report(folder: Path, outcomes: Iterator[Outcome], planned: int = 0) -> Path:
    """Make a journal, and a page of it."""
    known = list(outcomes)
    with Journal(folder / "items.journal") as journal:
        journal.plan([*(each.item for each in known), *map(engine, range(90_000, 90_000 + planned))])
        journal.begin(retry_refused=False, resend_unknown=False)
        last = 0
        while rows := [row.number for row in journal.planned(last) if row.number <= len(known)]:
            journal.write((), [(number, known[number - 1]) for number in rows])
            last = rows[-1]
    assert main(["report", str(folder / "items.journal"), "--html", str(folder / "report.html")]) == 0
    return folder / "report.html"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(tmp_path_factory.mktemp("large"), two_runs())


@pytest.fixture
def open_(browser: Browser) -> Iterator[Open]:
    with ExitStack() as stack:

        def open_(file: Path, width: int = 1400, scheme: Literal["light", "dark"] = "light") -> Visit:
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            visit = Visit(stack.enter_context(context).new_page())
            visit.page.goto(file.as_uri())
            visit.page.wait_for_load_state("networkidle")
            return visit

        yield open_


def test_the_page_is_one_file_without_complaints_and_may_load_nothing(large: Path, open_: Open) -> None:
    visit = open_(large)
    assert visit.requests == [large.as_uri()]
    assert visit.complaints == []
    make = "Object.assign(document.createElement(element), {src: 'http://outside.invalid/'})"
    for element in ("img", "script", "iframe"):
        with visit.page.expect_event("console") as complaint:
            visit.page.evaluate(f"element => document.body.append({make})", element)
        assert "Content Security Policy" in complaint.value.text


def test_the_first_screen_says_what_happened_and_what_to_do(large: Path, open_: Open) -> None:
    page = open_(large).page
    told = "9,400 of 10,000 accepted, 500 refused, 100 unknown: check them before you resend them."
    expect(page.get_by_role("heading", level=1)).to_have_text(told)
    expect(page).to_have_title(f"{told} items.journal")
    first = page.get_by_label("What to do next").locator("li").first
    expect(first).to_contain_text("The 100 unknown items may have been processed")
    expect(first).to_contain_text("hwc-retry resolve")
    expect(page.locator(".tile strong")).to_have_text(["100", "500", "9,400"])
    for seen in page.locator(".tile").all():
        expect(seen).to_be_in_viewport()


def test_the_charts_show_every_outcome_and_are_described(large: Path, open_: Open) -> None:
    page = open_(large).page
    told = page.locator("svg.wide").first.locator("g > title").all_text_contents()
    counted: Counter[str] = Counter()
    for title in told:
        _, found, counts = title.rpartition(": ")
        for each in counts.split(", ") if found else ():
            count, verdict = each.split(" ")
            counted[verdict] += int(count.replace(",", ""))
    assert counted == {"accepted": 9400, "refused": 500, "unknown": 100}
    assert [title for title in told if title.startswith("pause")] == ["pause of 59 min 30 s"]
    assert page.locator("svg.wide").first.locator("path.unknown").count() > 10
    # Each chart has a name, a description and a table of its figures.
    charts = page.get_by_role("img").all()
    for chart, name in zip(charts, ("Outcomes over time", "Latency"), strict=True):
        expect(chart).to_have_accessible_name(f"{name} {chart.locator('> desc').text_content() or 'none'}")
    for summary in page.get_by_text("The figures", exact=True).all():
        summary.click()
    for rows in ("#time table tbody tr", "#latency details tbody tr"):
        figures = page.locator(rows).locator("td").all_text_contents()
        assert sum(int(figure.replace(",", "")) for figure in figures) == 10_000


def boxes_of(elements: Locator) -> list[dict[str, float]]:
    found: Any = elements.evaluate_all("all => all.map(e => e.getBoundingClientRect().toJSON())")
    return list(found)


@pytest.mark.parametrize("width", [1400, 400])
def test_no_label_of_a_chart_covers_another(large: Path, open_: Open, width: int) -> None:
    for chart in open_(large, width).page.get_by_role("img").all():
        boxes = boxes_of(chart.locator("text"))
        assert len(boxes) > 5
        for number, a in enumerate(boxes):
            assert 0 <= a["x"] <= width - a["width"]
            for b in boxes[:number]:
                apart = a["x"] + a["width"] <= b["x"] or b["x"] + b["width"] <= a["x"]
                # A box has the room of accents too, and the outline that keeps text legible over a line.
                assert apart or abs(a["y"] - b["y"]) >= 16, (a, b)


def test_each_reason_lists_its_items(large: Path, open_: Open) -> None:
    page = open_(large).page
    unknown, refused = page.locator("#reasons > ol > li").all()
    expect(unknown).to_contain_text("504 APIG.0201")
    expect(unknown).to_contain_text("Check the engine's last job before you resend this")
    rows = unknown.locator("tbody tr")
    expect(rows).to_have_count(100)
    expect(rows.first).to_be_visible()
    for text in ("engine engine-0007", "in cn-north-4", "2023-11-15 12:00:00Z"):
        expect(rows.first).to_contain_text(text)
    expect(refused).to_contain_text("400 SVC.1")
    expect(refused.locator(".head strong").last).to_have_text("500")
    expect(refused.locator("tbody tr").first).not_to_be_visible()
    refused.locator("summary").click()
    expect(refused.locator("tbody tr")).to_have_count(500)
    expect(refused.locator("tbody tr").first).to_be_visible()


def test_of_very_many_the_first_are_listed_with_the_command_for_all(tmp_path: Path, open_: Open) -> None:
    many = report(tmp_path, (outcome(engine(n), "unknown", 0, "gone") for n in range(LISTED + 200)))
    reasons = open_(many).page.locator("#reasons")
    expect(reasons.locator("tbody tr")).to_have_count(LISTED)
    expect(reasons).to_contain_text("The first 500 of 700. All:")
    expect(reasons).to_contain_text("--output csv --only unknown")


@pytest.mark.parametrize(("apart", "width"), [(0.0, 1400), (0.1, 400), (0.004, 1400), (86_400.0, 400)])
def test_a_short_run_fills_its_chart(tmp_path: Path, open_: Open, apart: float, width: int) -> None:
    page = open_(report(tmp_path, (outcome(engine(n), "accepted", n * apart) for n in range(3))), width).page
    chart = page.get_by_role("img").first
    times = [text for text in chart.locator("text").all_text_contents() if ":" in text]
    assert len(set(times)) == len(times) >= 2
    axis = chart.locator("line.axis").first.bounding_box()
    columns = boxes_of(chart.locator("rect.hit"))
    assert axis is not None
    for column in columns:
        assert column["width"] < axis["width"] / 10
        assert axis["x"] - 1 <= column["x"] <= axis["x"] + axis["width"] - column["width"] + 1
    places = [box["x"] for box in columns]
    assert apart == 0 or max(places) - min(places) > axis["width"] / 3


@pytest.mark.parametrize("width", [320, 700])
def test_nothing_is_wider_than_the_window(large: Path, open_: Open, width: int) -> None:
    page = open_(large, width).page
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_what_servers_say_is_shown_and_does_nothing(tmp_path: Path, open_: Open) -> None:
    item = Item(operation="RetryScriptExecution", project_id="p", record_id=HOSTILE, region=HOSTILE)
    hostile = outcome(item, "unknown", 0, HOSTILE, error_code=HOSTILE, request_id=HOSTILE)
    nasty = report(tmp_path, iter([hostile]))
    visit = open_(nasty)
    assert visit.requests == [nasty.as_uri()]
    assert visit.complaints == []
    expect(visit.page.locator("#reasons td").nth(1)).to_contain_text(HOSTILE)
    title = "0 of 1 accepted, 1 unknown: check it before you resend it. items.journal"
    expect(visit.page).to_have_title(title)
    assert visit.page.locator("script, img, a[href^=javascript]").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_bars_stand_out(large: Path, open_: Open, scheme: Literal["light", "dark"]) -> None:
    page = open_(large, scheme=scheme).page

    def style(selector: str, name: str) -> str:
        colour: str = page.locator(selector).first.evaluate(f"e => getComputedStyle(e).{name}")
        return colour

    card = style("#time", "backgroundColor")
    assert (luminance(card) < 0.1) == (scheme == "dark")
    assert contrast(style("body", "color"), style("body", "backgroundColor")) >= 7
    for selector, name in (("#time p", "color"), ("svg.wide text", "fill"), ("#reasons .quiet", "color")):
        assert contrast(style(selector, name), card) >= 4.5, selector
    assert contrast(style(".steps code", "color"), style(".steps.alarm li", "backgroundColor")) >= 4.5
    for verdict in ("accepted", "refused", "unknown"):
        assert contrast(style(f"svg.wide rect.{verdict}", "fill"), card) >= 3, verdict


def test_a_journal_of_which_nothing_was_sent_has_a_page_too(tmp_path: Path, open_: Open) -> None:
    visit = open_(report(tmp_path, iter(()), planned=3))
    expect(visit.page.get_by_role("heading", level=1)).to_have_text("0 of 3 accepted, 3 not sent yet.")
    expect(visit.page.locator("section")).to_have_count(0)
    assert visit.complaints == []
