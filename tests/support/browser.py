"""luigid's page in a real browser: Debian's chromium, driven by its own chromedriver, without a window or a network."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from support import processes

_PATIENCE = 40  # seconds; a browser is slow where much else runs

# A dialog is where it belongs at once: a click misses what still moves, and Luigi follows in none that takes half a
# second to come.
_STILL = """
    $.support.transition = false;
    const style = document.createElement("style");
    style.textContent = "*, *::before, *::after { transition: none !important; animation: none !important }";
    document.head.append(style);
"""


class NoBrowser(Exception):
    """There is none on this machine."""


class Page:
    """The list of workers, as a person uses it."""

    def __init__(self, folder: Path):
        """The browser's files are below `folder`. Raises `NoBrowser`."""
        programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
        absent = [name for name, path in programs.items() if path is None]
        if absent:
            raise NoBrowser(f"no {' and no '.join(absent)} on this machine: apt-get install chromium chromium-driver")
        options = webdriver.ChromeOptions()
        options.binary_location = str(programs["chromium"])
        for argument in (
            *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-dev-shm-usage"),
            *("disable-background-networking", "disable-component-update", "disable-sync", "disable-breakpad"),
            # of what the page names elsewhere, a font, nothing is asked for
            *("no-proxy-server", "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
            # wide enough for all buttons of a row in one line, also in the longest hours: else the tip that a button
            # shows when the mouse is there moves it away from under a click
            *(f"user-data-dir={folder / 'profile'}", "window-size=1400,700"),
        ):
            options.add_argument(f"--{argument}")
        # both leave files in the home and in /tmp, and would ask a proxy for this machine
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        environment |= {"HOME": str(folder), "TMPDIR": str(folder), "XDG_CONFIG_HOME": str(folder)}
        service = Service(programs["chromedriver"], env=environment)
        self.driver = webdriver.Chrome(options, service)

    def close(self) -> None:
        """The browser and its driver are gone then."""
        self.driver.quit()

    def open(self, port: int) -> None:
        """Anew: the list does not follow by itself."""
        self.driver.get("about:blank")
        self.driver.get(f"http://127.0.0.1:{port}/static/visualiser/index.html#tab=workers")
        self.driver.execute_script(_STILL)

    def find(self, selector: str) -> WebElement:
        """What the CSS selector names, as soon as it is there and can be seen."""
        found: list[WebElement] = []

        def visible() -> bool:
            try:
                found[:] = [one for one in self.driver.find_elements(By.CSS_SELECTOR, selector) if one.is_displayed()]
            except WebDriverException:  # the page replaces it just now
                return False
            return bool(found)

        processes.wait_until(visible, selector, _PATIENCE)
        return found[0]

    def text(self, selector: str) -> str:
        """As it is shown."""
        return self.find(selector).text

    def gone(self, selector: str) -> None:
        """Returns when nothing of it is seen any more."""
        one = self.driver.find_element(By.CSS_SELECTOR, selector)
        processes.wait_until(lambda: not one.is_displayed(), f"the end of {selector}")

    def made_of(self, selector: str) -> list[str]:
        """The names of the elements inside: what the page has taken for HTML."""
        return [one.tag_name for one in self.find(selector).find_elements(By.CSS_SELECTOR, "*")]

    def loaded(self) -> list[str]:
        """The addresses of all that has come for the page."""
        script = "return performance.getEntriesByType('resource').filter(e => e.responseStatus).map(e => e.name)"
        return self.driver.execute_script(script)

    def send(self, message: str) -> str:
        """Types the message into the dialog of the only task, and returns the answer that comes."""
        if not self.driver.find_elements(By.CSS_SELECTOR, "#schedulerMessageModal.in"):
            self.find(".worker-table .schedulerMessage").click()
            awaits = self.find("#schedulerMessageAwaitResponse")
            awaits.click()
            processes.wait_until(awaits.is_selected, "the mark that asks for an answer")
        field = self.find("#schedulerMessageInput")
        field.clear()
        field.send_keys(message)
        self.find("#schedulerMessageButton").click()
        answer = "#schedulerMessageResponse pre > div"
        processes.wait_until(lambda: self.text(answer) != "", f"the answer to {message}", _PATIENCE)
        return self.text(answer)
