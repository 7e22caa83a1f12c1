"""A headless Chromium for the tests: one that is installed, or one that the set-up put into .venv/browser.

`python -m tests.reporting.browser` (called by `python3 pipeline/bootstrap.py --dev`) makes sure that there is one. It
takes the npm package @sparticuz/chromium, a headless Chromium for x86-64 Linux that needs neither root nor libraries of
the system; elsewhere, with root on Debian, the distribution's own.
"""

import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.datasets.packages import Package, npm_members
from pipeline.errors import PermafrostError

VARIABLE = "PERMAFROST_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FOLDER = Path(__file__).resolve().parents[2] / ".venv" / "browser"
SPARTICUZ = Package(
    "npm",
    "@sparticuz/chromium",
    "153.0.0",
    "sparticuz-chromium-153.0.0.tgz",
    "20e5656fcdcf4118ede85edfb9d6bb9cc1bbb7ffb8b75622fffbcf36a835c3c0",
    "MIT",
)
HOW = (
    f"Expected a Chromium in ${VARIABLE}, on the PATH ({', '.join(NAMES)}), in {FOLDER} or among playwright's own; "
    "found none. Get one with `.venv/bin/python -m tests.reporting.browser` (npm), `apt-get install chromium` or "
    f"`.venv/bin/playwright install chromium`, or name one in ${VARIABLE}."
)
_UNPACK = (
    "const z=require('zlib');require('stream').pipeline(process.stdin,z.createBrotliDecompress(),process.stdout,"
    "e=>{if(e){console.error(String(e));process.exitCode=1}})"
)


class NoBrowser(PermafrostError):
    """There is no Chromium, or none could be fetched."""


@dataclass(frozen=True)
class Browser:
    """An executable, and the environment it needs."""

    path: str
    environment: dict[str, str]


def find() -> Browser:
    """A Chromium, without fetching anything.

    Raises:
        NoBrowser: there is none; the message says how to get one.
    """
    if named := os.environ.get(VARIABLE):
        if not shutil.which(named):
            raise NoBrowser(f"${VARIABLE} is {named}, which cannot be run.")
        return Browser(named, {})
    for name in NAMES:
        if path := shutil.which(name):
            return Browser(path, {})
    if (FOLDER / "chromium").is_file():
        return Browser(str(FOLDER / "chromium"), _package_environment())
    if path := _playwright_executable():
        return Browser(path, {})
    raise NoBrowser(HOW)


def install() -> Browser:
    """A Chromium, fetched if there is none.

    Raises:
        PermafrostError: none could be fetched; the message says why, and what would help.
    """
    try:
        return find()
    except NoBrowser:
        if os.environ.get(VARIABLE):
            raise
    reasons = []
    if sys.platform == "linux" and platform.machine() == "x86_64":
        try:
            _from_npm()
            return find()
        except PermafrostError as error:
            reasons.append(str(error))
            shutil.rmtree(FOLDER, ignore_errors=True)
    apt = shutil.which("apt-get")
    if apt and hasattr(os, "geteuid") and os.geteuid() == 0:
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
            done = subprocess.run([apt, *arguments], capture_output=True, text=True, check=False)
            if done.returncode:
                reasons.append(f"apt-get {' '.join(arguments)}: {done.stderr.strip()[-300:]}")
                break
        else:
            return find()
    raise NoBrowser(" / ".join([*reasons, HOW]))


@contextmanager
def launched() -> Iterator[Any]:
    """A playwright browser, closed at the end.

    Raises:
        NoBrowser: there is none.
    """
    from playwright.sync_api import sync_playwright

    browser = find()
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=browser.path, args=arguments, env={**os.environ, **browser.environment}
        )
        try:
            yield running
        finally:
            running.close()


def screens(page: Any) -> Iterator[tuple[int, bytes]]:
    """Scroll from top to bottom; (position in px, PNG of the window) of each screen.

    One picture of a page of tens of thousands of pixels fails at random under load; one of a window does not.
    """
    height: int = page.evaluate("document.documentElement.scrollHeight")
    for top in range(0, height, page.viewport_size["height"]):
        page.evaluate("top => window.scrollTo({top, behavior: 'instant'})", top)
        yield page.evaluate("Math.round(window.scrollY)"), page.screenshot()


def _from_npm() -> None:
    """Unpack the pinned package into .venv/browser; the executable is put there last."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
        for name, content in npm_members(SPARTICUZ, Path(scratch)):
            if name in ("bin/al2023.tar.br", "bin/fonts.tar.br"):
                with tarfile.open(fileobj=io.BytesIO(_brotli(content))) as archive:
                    archive.extractall(FOLDER, filter="data")
            elif name == "bin/chromium.br":
                (Path(scratch) / "chromium").write_bytes(_brotli(content))
        executable = Path(scratch) / "chromium"
        executable.chmod(0o755)
        os.replace(executable, FOLDER / "chromium")
    browser = find()
    done = subprocess.run(
        [browser.path, "--version"],
        env={**os.environ, **browser.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NoBrowser(f"{browser.path} does not start: {done.stderr.strip()[-300:]}")


def _brotli(content: bytes) -> bytes:
    """Decompress with the Node.js that playwright brings along."""
    from playwright._impl._driver import compute_driver_executable

    node = compute_driver_executable()[0]
    done = subprocess.run([node, "-e", _UNPACK], input=content, capture_output=True, check=False)
    if done.returncode or not done.stdout:
        raise NoBrowser(f"{SPARTICUZ.name} cannot be unpacked: {done.stderr.decode(errors='replace').strip()[-300:]}")
    return done.stdout


def _package_environment() -> dict[str, str]:
    """The package's libraries come after those of the system, its font only where the system has none configured."""
    libraries = [os.environ.get("LD_LIBRARY_PATH", ""), *_system_libraries(), str(FOLDER / "lib")]
    environment = {"LD_LIBRARY_PATH": ":".join(part for part in libraries if part)}
    if not Path("/etc/fonts/fonts.conf").is_file():
        environment["FONTCONFIG_PATH"] = str(FOLDER)
    return environment


def _system_libraries() -> list[str]:
    """Where this Linux keeps its libraries; LD_LIBRARY_PATH would otherwise come before them."""
    places = (
        f"/lib/{platform.machine()}-linux-gnu",
        f"/usr/lib/{platform.machine()}-linux-gnu",
        "/lib64",
        "/usr/lib64",
    )
    return [place for place in places if Path(place).is_dir()]


def _playwright_executable() -> str | None:
    try:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            path = playwright.chromium.executable_path
    except Exception:
        return None
    return path if Path(path).is_file() else None


if __name__ == "__main__":
    try:
        from tests.reporting.axe import script

        print(f"browser for the tests: {install().path}")
        script()
    except PermafrostError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from None
