"""What tests look for on a page: its numbers with their sources, and how it behaves in a browser."""

import json
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from tests.reporting.axe import findings
from tests.reporting.browser import launched, screens

WINDOWS = ((1280, "light"), (400, "dark"))
BLANK = 3_000  # bytes of a PNG that shows nothing


class Numbers(HTMLParser):
    """Collects (source, format, text) of every number on the page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []
        self._open: tuple[str, str] | None = None

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag == "span" and "data-source" in given:
            self._open = (str(given["data-source"]), str(given["data-format"]))

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self.found.append((*self._open, data))
            self._open = None


def numbers(page: str) -> list[tuple[str, str, str]]:
    """(source, format, text) of every number on the page."""
    parser = Numbers()
    parser.feed(page)
    return parser.found


def resolve(root: Path, source: str) -> Any:
    """The value at `<file>#<JSON pointer>`."""
    name, _, pointer = source.partition("#")
    value = json.loads((root / name).read_text(encoding="utf-8"))
    for part in pointer.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def check_in_browser(page_file: Path, titles: Iterable[str], images: int) -> None:
    """Open the page wide and narrow, light and dark; look at every screen of it.

    Args:
        titles: of sections that must be on the page.
        images: how many images it must have at least.
    """
    with launched() as browser:
        for width, scheme in WINDOWS:
            context = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
            )
            page = context.new_page()
            complaints: list[str] = []
            asked: list[str] = []
            page.on("console", lambda m, c=complaints: c.append(m.text) if m.type in ("error", "warning") else None)
            page.on("pageerror", lambda error, c=complaints: c.append(str(error)))
            page.on("request", lambda request, a=asked: a.append(request.url))
            page.goto(page_file.as_uri())
            page.wait_for_load_state("networkidle")
            assert not complaints
            assert [url for url in asked if not url.startswith("data:")] == [page_file.as_uri()]
            headings = page.locator("h2")
            shown = headings.all_inner_texts()
            assert set(titles) <= set(shown), shown
            assert all(headings.nth(position).is_visible() for position in range(len(shown)))
            assert page.evaluate("document.images.length") >= images
            assert page.evaluate("[...document.images].filter(i => !i.complete || !i.naturalWidth).length") == 0
            overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert overflow <= 0, f"the page is {overflow} px wider than a window of {width} px"
            _check_screens(page, width)
            assert findings(page) == []
            context.close()


def _check_screens(page: Any, width: int) -> None:
    positions = []
    for top, picture in screens(page):
        assert len(picture) > BLANK, f"nothing to see at {top} px in a window of {width} px"
        positions.append(top)
    assert positions == sorted(set(positions))
    height = page.evaluate("document.documentElement.scrollHeight")
    assert positions[0] == 0
    assert positions[-1] + page.viewport_size["height"] >= height
