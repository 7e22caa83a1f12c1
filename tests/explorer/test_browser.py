"""The explorer in a headless Chromium: everything a user does, wide and on a phone, light and dark."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from PIL import Image

from pipeline.explorer.__main__ import _socket
from pipeline.explorer.app import create_app
from pipeline.explorer.project import Project
from tests.reporting.axe import findings
from tests.reporting.browser import launched


@pytest.fixture(scope="module")
def address(explored: Project) -> Iterator[str]:
    listening = _socket(0)
    server = uvicorn.Server(uvicorn.Config(create_app(explored), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as running:
        yield running


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_all_of_it(address: str, browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    complaints: list[str] = []
    asked: list[str] = []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    status = page.locator("#status")
    status.filter(has_text="Ready.").wait_for()

    page.select_option("#aligner", "patch")
    page.select_option("#beside", "grid")
    for words in ("a picture of a bridge", "ein Bild, 橋の絵"):
        page.fill("#query", words)
        page.keyboard.press("Enter")
        status.filter(has_text="Nearest first.").wait_for()
    assert page.locator("#results h3").all_inner_texts() == ["patch", "grid"]
    assert page.locator("#results li").count() == 20
    page.locator("#results li button").first.click()
    status.filter(has_text="like the chosen picture").wait_for()
    assert findings(page) == []

    page.click("nav a[href='#picture']")
    picture = tmp_path / "mine, with <odd> näme.png"
    Image.new("RGB", (80, 60), (30, 90, 200)).save(picture)
    page.set_input_files("#file", picture)
    page.fill("#classes", "Himmel, 海, tree")
    page.click("#upload button")
    status.filter(has_text="Done.").wait_for()
    assert page.locator("#answers .overlay").count() == 2
    assert page.locator("#answers .legend").first.locator("li").count() == 3
    assert findings(page) == []
    (tmp_path / "not a picture.png").write_bytes(b"words")
    page.set_input_files("#file", tmp_path / "not a picture.png")
    page.click("#upload button")
    status.and_(page.locator(".error")).wait_for()
    assert "not an image" in status.inner_text()
    assert [text for text in complaints if "400" not in text] == []  # the browser notes the refusal itself
    complaints.clear()

    page.click("nav a[href='#map']")
    status.filter(has_text="10 pairs.").wait_for()
    for colour in ("cosine", "kept", "split"):
        page.select_option("#colour", colour)
    page.fill("#find", "daisy")
    canvas = page.locator("#canvas")
    box = canvas.bounding_box()
    for step in range(20):  # somewhere across the map there is a picture
        page.mouse.move(box["x"] + box["width"] * (0.2 + 0.03 * step), box["y"] + box["height"] * (0.2 + 0.03 * step))
    canvas.focus()
    for key in ("ArrowLeft", "+", "-"):
        page.keyboard.press(key)
    assert page.locator("#farthest li").count() == 10
    painted = page.evaluate(
        "() => { const c = document.getElementById('canvas'); return c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data.some(value => value > 0); }"
    )
    assert painted
    assert findings(page) == []
    page.wait_for_load_state("networkidle")
    assert page.evaluate("[...document.images].filter(i => i.complete && i.src && !i.naturalWidth).length") == 0
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0
    assert complaints == []
    assert {url for url in asked if not url.startswith((address, f"blob:{address}"))} == set()
    context.close()
