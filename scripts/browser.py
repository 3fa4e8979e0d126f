"""TensorBoard in a headless Chromium, for the dashboard's tests and the README's screenshots."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import WebDriverException

FLAGS = (
    "headless no-sandbox disable-gpu no-first-run disable-background-networking "
    "disable-component-update disable-sync hide-scrollbars window-size=3000,1200"
)
# Most of TensorBoard sits in shadow roots, which neither XPath nor `innerText` look into.
DEEP = """
const deep = root => [...root.querySelectorAll('*')].flatMap(
    element => [element, ...(element.shadowRoot ? deep(element.shadowRoot) : [])]);
const own = element => [...element.childNodes]
    .filter(node => node.nodeType === Node.TEXT_NODE).map(node => node.data.trim()).join('');
const hidden = ['STYLE', 'SCRIPT', 'TEMPLATE', 'NOSCRIPT'];
const seen = deep(document).filter(e => !hidden.includes(e.tagName) && e.checkVisibility());
"""


PATIENCE = 600.0  # seconds; a busy machine needs many times what a free one does


class NotFoundError(Exception):
    """What was waited for did not come."""


def wait_for(what: str, found: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Asks until there is an answer; a failed assertion or connection is no answer yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            answer = found()
            assert answer, f"got {answer!r}"
        except (AssertionError, OSError, WebDriverException) as error:
            if time.monotonic() > deadline:
                raise NotFoundError(f"No {what} within {seconds:g} s: {error}") from error
            time.sleep(0.3)  # each look goes through the whole page
        else:
            return answer


@contextmanager
def dashboard(folder: Path) -> Iterator[str]:
    """`python -m kan_exp.dashboard` on the folder's `outputs`; gives its address."""
    log = folder / "dashboard.log"
    command = [sys.executable, "-m", "kan_exp.dashboard", "port=0", "host=127.0.0.1"]
    with log.open("w") as output:
        server = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)

    def address() -> str:
        assert server.poll() is None, log.read_text()
        printed = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
        assert printed, log.read_text()
        return printed[0]

    try:
        yield wait_for("dashboard", address)
    finally:
        server.terminate()
        server.wait(20)


def find_programs() -> tuple[str, str] | None:
    """Paths of Chromium and its driver, if both are installed."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    return (chromium, chromedriver) if chromium and chromedriver else None


@contextmanager
def browser(chromium: str, chromedriver: str, profile: Path) -> Iterator[webdriver.Chrome]:
    """A browser without a window, which keeps what it stores in a folder."""
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in [*FLAGS.split(), f"user-data-dir={profile}"]:
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(chromedriver))
    try:
        driver.set_page_load_timeout(PATIENCE)
        driver.set_script_timeout(PATIENCE)
        yield driver
    finally:
        driver.quit()


class Page:
    """A tab of TensorBoard, as someone in front of the screen has it."""

    def __init__(self, driver: webdriver.Chrome, address: str) -> None:
        self.driver = driver
        self.address = address

    def open(self, tab: str) -> None:
        self.driver.get("about:blank")  # or else only the fragment changes and nothing is loaded
        self.driver.get(f"{self.address}/#{tab}")

    def ask(self, script: str, *arguments: Any) -> Any:
        """What a script answers that may use `seen`, every element that one can see."""
        return self.driver.execute_script(DEEP + script, *arguments)

    def texts(self) -> list[str]:
        return self.ask("return seen.map(own).filter(text => text);")

    def wait_for_texts(self, *texts: str) -> list[str]:
        def found() -> list[str]:
            shown = self.texts()
            assert set(texts) <= set(shown), f"the page shows only {shown}"
            return shown

        return wait_for(f"text {texts}", found)

    def click(self, text: str) -> None:
        """Clicks on the first element with this text, once it holds still."""

        def clicked() -> bool:
            found = self.ask("return seen.filter(e => own(e) === arguments[0]);", text)
            assert found, "it is not on the page"
            self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", found[0])
            found[0].click()
            return True

        wait_for(f"click on {text!r}", clicked)
