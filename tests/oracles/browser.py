"""Headless Chromium, as a reader of pages that tells what it ran and what it asked for."""

from __future__ import annotations

import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")


def available() -> str:
    """Why there is no browser to test with; empty where there is one."""
    if CHROMIUM is None or DRIVER is None:
        return "needs Chromium and chromedriver"
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "needs selenium: the extra `browser`"
    return ""


@contextmanager
def browser() -> Iterator[Any]:
    """A driver of a browser of its own, which remembers its log."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def opened(driver: Any, path: Path, width: int = 1400, height: int = 1000, scheme: str = "light") -> None:
    """Show a file in a window of this size, on a phone where that is narrow, light or dark."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    driver.get(Path(path).absolute().as_uri())


def requests(driver: Any) -> list[str]:
    """The addresses that the page asked for, but for those that hold what they name."""
    names = driver.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")
    return [name for name in names if not name.startswith("data:")]


@contextmanager
def listener() -> Iterator[tuple[str, list[str]]]:
    """A server on this machine that remembers what was asked of it: its address and the list."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    asked: list[str] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
