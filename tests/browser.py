"""A real Chromium, without a window, for tests of what people look at.

It is the machine's own; where there is none, the tests that import this are skipped and say so.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if found is None:
    pytest.skip("no Chromium: apt-get install chromium", allow_module_level=True)
CHROMIUM: str = found
ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",  # whatever the machine has: all that is asked for is on the loopback interface
]
if hasattr(os, "geteuid") and os.geteuid() == 0:
    ARGUMENTS.append("--no-sandbox")  # Chromium does not start as root with one


@contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, *arguments]) as browser,
    ):
        yield browser


@dataclass
class Visit:
    """A page of a fresh browser profile, and all that its browser noticed meanwhile."""

    page: Page
    requests: list[str] = field(default_factory=list[str])
    complaints: list[str] = field(default_factory=list[str])
    """What the console says above `info`, uncaught exceptions, requests without a response."""

    def __post_init__(self) -> None:
        context, add = self.page.context, self.complaints.append
        context.on("request", lambda request: self.requests.append(request.url))
        context.on("console", lambda said: add(f"{said.type}: {said.text}") if said.type in LOUD else None)
        context.on("weberror", lambda error: add(f"uncaught: {error.error}"))
        context.on("requestfailed", lambda request: add(f"failed: {request.url} {request.failure}"))


LOUD = {"error", "warning"}


def luminance(colour: str) -> float:
    """Relative luminance, https://www.w3.org/TR/WCAG21/#dfn-relative-luminance."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(", ")]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)
