"""The charts of the README as a reader meets them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser

from tests.benchmarks.publish import CHARTS
from tests.browser import chromium, contrast, luminance

ROOT = Path(__file__).parents[2]
BOXES = """elements => elements.map(element => {
    const {x, y, width, height} = element.getBBox()
    return [element.textContent, x, y, x + width, y + height]
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.mark.parametrize("name", CHARTS)
def test_no_text_covers_another_or_a_bar_or_leaves_the_picture(name: str, browser: Browser) -> None:
    page = browser.new_page()
    page.goto((ROOT / name).as_uri())
    width, height = page.locator("svg").evaluate("({viewBox: {baseVal}}) => [baseVal.width, baseVal.height]")
    texts: list[Any] = page.locator("text").evaluate_all(BOXES)
    bars: list[Any] = page.locator("g rect, g path.range").evaluate_all(BOXES)
    page.close()
    assert len(texts) > 50
    assert len(bars) > 30
    for number, (text, left, top, right, bottom) in enumerate(texts):
        assert left >= 8, text
        assert right <= width - 8, text
        assert top >= 8, text
        assert bottom <= height - 8, text
        for other, its_left, its_top, its_right, its_bottom in (*texts[:number], *bars):
            beside = right <= its_left or its_right <= left
            assert beside or bottom <= its_top or its_bottom <= top, (text, other)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", CHARTS)
def test_text_and_bars_stand_out_in_light_and_dark(
    name: str, scheme: Literal["light", "dark"], browser: Browser
) -> None:
    page = browser.new_page(color_scheme=scheme)
    page.goto((ROOT / name).as_uri())

    def style(selector: str, name: str = "fill") -> str:
        colour: str = page.locator(selector).first.evaluate(f"e => getComputedStyle(e).{name}")
        return colour

    card = style(".card")
    assert (luminance(card) < 0.1) == (scheme == "dark")
    for selector in ("text.strong", "text.quiet"):
        assert contrast(style(selector), card) >= 4.5, selector
    for kind in ("better", "worse"):
        assert contrast(style(f"rect.{kind}"), card) >= 3, kind
    for kind in ("aim", "range", "one"):
        assert contrast(style(f"path.{kind}", "stroke"), card) >= 3, kind
    page.close()


@pytest.mark.parametrize(("window", "shown"), [(800, "bench.svg"), (400, "bench-narrow.svg")])
def test_a_narrow_window_gets_the_narrow_chart(window: int, shown: str, browser: Browser, tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    picture = text[text.index("<picture>") : text.index("</picture>")]
    (tmp_path / "page.html").write_text(f'<base href="{ROOT.as_uri()}/">{picture}', encoding="utf-8")
    page = browser.new_page(viewport={"width": window, "height": 600})
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_load_state("load")
    image: list[Any] = page.locator("img").evaluate("image => [image.currentSrc, image.naturalWidth]")
    page.close()
    wide = {Path(name).name: layout.width for name, layout in CHARTS.items()}
    assert (Path(image[0]).name, image[1]) == (shown, wide[shown])
