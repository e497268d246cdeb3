"""The page of a comparison in a real browser, cut off from the network.

Driven by the W3C WebDriver protocol of a chromedriver; skipped where there is none.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from al_orchestrator.reports import RunCurve, compare
from al_orchestrator.reports.comparison_page import comparison_page

MakeRun = Callable[..., RunCurve]

DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(DRIVER is None, reason="needs a chromedriver and its Chromium")


@dataclass(frozen=True)
class Browser:
    """A session of a browser."""

    address: str

    def ask(self, method: str, path: str, body: object | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data=data, method=method)
        with urllib.request.urlopen(request, timeout=180) as answer:
            return json.loads(answer.read())["value"]

    def run(self, script: str) -> Any:
        return self.ask("POST", "/execute/sync", {"script": script, "args": []})

    def until(self, script: str) -> Any:
        deadline = time.monotonic() + 120
        while not (value := self.run(script)):
            assert time.monotonic() < deadline, f"never true: {script}"
            time.sleep(0.1)
        return value

    def move(self, x: float, y: float) -> None:
        step = {"type": "pointerMove", "duration": 0, "x": round(x), "y": round(y)}
        actions = [{"type": "pointer", "id": "mouse", "actions": [step]}]
        self.ask("POST", "/actions", {"actions": actions})

    def click(self, x: float, y: float) -> None:
        self.move(x, y)
        steps = [{"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp")]
        self.ask(
            "POST", "/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": steps}]}
        )


@pytest.fixture
def browser() -> Iterator[Browser]:
    assert DRIVER is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL)
    root = Browser(f"http://127.0.0.1:{port}")
    try:
        _wait_for(root)
        options = {
            "args": [
                "--headless=new",
                "--no-sandbox",
                "--disable-dev-shm-usage",
                "--window-size=1200,1000",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            ]
        }
        wanted = {
            "alwaysMatch": {
                "goog:chromeOptions": options,
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            }
        }
        try:
            session = root.ask("POST", "/session", {"capabilities": wanted})["sessionId"]
        except urllib.error.HTTPError as error:  # what it says is of the machine, not of the page
            pytest.skip(f"no browser starts here: {error.read().decode()[:200]}")
        try:
            yield Browser(f"{root.address}/session/{session}")
        finally:
            root.ask("DELETE", f"/session/{session}")
    finally:
        driver.terminate()
        driver.wait(timeout=20)


def _wait_for(root: Browser) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            if root.ask("GET", "/status")["ready"]:
                return
        except (urllib.error.URLError, ConnectionError):
            pass
        assert time.monotonic() < deadline, "the driver never became ready"
        time.sleep(0.1)


def test_curves_are_drawn_and_answer_to_the_pointer_without_a_network(
    browser: Browser, make_run: MakeRun, tmp_path: Path
) -> None:
    runs = [
        make_run(group, seed, [0.1, 0.2 + add + seed / 50, 0.3 + add + seed / 40], labels=labels)
        for labels in ((10, 20, 30), (50, 100, 150))
        for group, add in (("random", 0.0), ("margin", 0.1))
        for seed in range(4)
    ]
    page = tmp_path / "page.html"
    page.write_text(comparison_page(compare(runs, "test/accuracy"), runs, title="two ways"))
    browser.ask("POST", "/url", {"url": page.as_uri()})
    assert browser.ask("GET", "/title") == "two ways · alo"
    browser.until("return document.querySelectorAll('.main-svg').length >= 2")
    drawn = browser.run(
        "return [...document.querySelectorAll('.js-plotly-plot')].map("
        "p => p.querySelectorAll('.scatterlayer .trace .lines path.js-line').length)"
    )
    assert len(drawn) == 2
    assert all(count >= 2 * (4 + 1) for count in drawn)  # each group's seeds and its mean

    # The pointer over the middle of the first figure shows the values of both groups.
    first = "document.querySelector('.js-plotly-plot')"
    box = browser.run(
        f"{first}.scrollIntoView();"
        f"const b = {first}.querySelector('.nsewdrag').getBoundingClientRect();"
        "return [b.left, b.top, b.width, b.height]"
    )
    browser.move(box[0] + box[2] / 2, box[1] + box[3] / 2)
    shown = browser.until(f"return {first}.querySelector('.hoverlayer').textContent")
    assert "margin" in shown
    assert "0.3300" in shown  # the mean of .3, .32, .34, .36 at 20 labels

    # A click in the legend hides a group.
    place = browser.run(
        f"const t = [...{first}.querySelectorAll('.legend .traces')].find("
        "t => t.textContent.includes('margin'));"
        "const b = t.querySelector('.legendtoggle').getBoundingClientRect();"
        "return [b.left + b.width / 2, b.top + b.height / 2]"
    )
    browser.click(*place)
    hidden = f"return {first}.data.filter(t => t.visible === 'legendonly').length"
    assert browser.until(hidden) == 1 + 4 + 1  # band, seeds, mean

    # Nothing went wrong, and nothing was asked of anybody.
    entries = browser.ask("POST", "/se/log", {"type": "browser"})
    assert [entry["message"] for entry in entries if entry["level"] == "SEVERE"] == []
    asked = [
        json.loads(entry["message"])["message"]
        for entry in browser.ask("POST", "/se/log", {"type": "performance"})
    ]
    urls = {
        each["params"]["request"]["url"].partition(":")[0]
        for each in asked
        if each["method"] == "Network.requestWillBeSent"
    }
    assert urls <= {"file", "data", "blob"}
