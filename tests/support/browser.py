"""luigid's page in headless chromium, driven by chromedriver, without access to the network."""

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

_TIMEOUT = 40  # seconds; a browser is slow on a busy machine

# Without animations a dialog is in place immediately. A click misses a moving element, and Luigi's page ignores clicks
# in a dialog that takes half a second to appear.
_NO_ANIMATIONS = """
    $.support.transition = false;
    const style = document.createElement("style");
    style.textContent = "*, *::before, *::after { transition: none !important; animation: none !important }";
    document.head.append(style);
"""


class NoBrowser(Exception):
    """No browser is installed on this machine."""


# The visible part of a text: inside the element, which may scroll, and inside the window.
_SHOWS = """
    const [element, text] = arguments;
    const nodes = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    while (nodes.nextNode() && !nodes.currentNode.data.includes(text));
    if (!nodes.currentNode.data.includes(text)) return false;
    const range = document.createRange();
    const start = nodes.currentNode.data.indexOf(text);
    range.setStart(nodes.currentNode, start);
    range.setEnd(nodes.currentNode, start + text.length);
    const box = element.getBoundingClientRect();
    return [...range.getClientRects()].every(part =>
        part.top >= Math.max(box.top, 0) && part.bottom <= Math.min(box.bottom, innerHeight) &&
        part.left >= Math.max(box.left, 0) && part.right <= Math.min(box.right, innerWidth));
"""


class Page:
    """The list of workers, or of tasks."""

    def __init__(self, folder: Path):
        """Keep the browser's files in `folder`. Raises `NoBrowser`."""
        programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
        absent = [name for name, path in programs.items() if path is None]
        if absent:
            raise NoBrowser(f"no {' and no '.join(absent)} on this machine: apt-get install chromium chromium-driver")
        options = webdriver.ChromeOptions()
        options.binary_location = str(programs["chromium"])
        for argument in (
            *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-dev-shm-usage"),
            *("disable-background-networking", "disable-component-update", "disable-sync", "disable-breakpad"),
            # the page links to a font elsewhere, which must not be requested
            *("no-proxy-server", "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
            # wide enough for all buttons of a row: otherwise the tooltip of a button moves it away from the click
            *(f"user-data-dir={folder / 'profile'}", "window-size=1400,700"),
        ):
            options.add_argument(f"--{argument}")
        # both write files to HOME and /tmp, and would use a proxy for 127.0.0.1
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        environment |= {"HOME": str(folder), "TMPDIR": str(folder), "XDG_CONFIG_HOME": str(folder)}
        service = Service(programs["chromedriver"], env=environment)
        self.driver = webdriver.Chrome(options, service)

    def close(self) -> None:
        """Stop the browser and its driver."""
        self.driver.quit()

    def open(self, port: int, tab: str = "workers") -> None:
        """Load the page again, because the list does not update automatically."""
        self.driver.get("about:blank")
        self.driver.get(f"http://127.0.0.1:{port}/static/visualiser/index.html#tab={tab}")
        self.driver.execute_script(_NO_ANIMATIONS)

    def find(self, selector: str) -> WebElement:
        """Return the first visible element of a CSS selector; waits for it."""
        found: list[WebElement] = []

        def visible() -> bool:
            try:
                found[:] = [one for one in self.driver.find_elements(By.CSS_SELECTOR, selector) if one.is_displayed()]
            except WebDriverException:  # the page is replacing it
                return False
            return bool(found)

        processes.wait_until(visible, selector, _TIMEOUT)
        return found[0]

    def text(self, selector: str) -> str:
        """Return the visible text of an element."""
        return self.find(selector).text

    def gone(self, selector: str) -> None:
        """Wait until the element is no longer visible."""
        one = self.driver.find_element(By.CSS_SELECTOR, selector)
        processes.wait_until(lambda: not one.is_displayed(), f"the end of {selector}")

    def made_of(self, selector: str) -> list[str]:
        """Return the tags of the elements inside: the text that the page interpreted as HTML."""
        return [one.tag_name for one in self.find(selector).find_elements(By.CSS_SELECTOR, "*")]

    def shows(self, selector: str, text: str) -> bool:
        """Whether this part of an element's text can be seen without scrolling."""
        return self.driver.execute_script(_SHOWS, self.find(selector), text)

    def picture(self, path: Path, copy_to: str) -> None:
        """Save a screenshot, and copy it to the path in the environment variable `copy_to`, if that is set."""
        self.driver.save_screenshot(str(path))
        if os.environ.get(copy_to):
            shutil.copy(path, os.environ[copy_to])

    def loaded(self) -> list[str]:
        """Return the URLs of all resources that were loaded."""
        script = "return performance.getEntriesByType('resource').filter(e => e.responseStatus).map(e => e.name)"
        return self.driver.execute_script(script)

    def send(self, message: str) -> str:
        """Send a message to the only task with its dialog, and return the response."""
        if not self.driver.find_elements(By.CSS_SELECTOR, "#schedulerMessageModal.in"):
            self.find(".worker-table .schedulerMessage").click()
            await_response = self.find("#schedulerMessageAwaitResponse")
            await_response.click()
            processes.wait_until(await_response.is_selected, "the checkbox that requests a response")
        field = self.find("#schedulerMessageInput")
        field.clear()
        field.send_keys(message)
        self.find("#schedulerMessageButton").click()
        response = "#schedulerMessageResponse pre > div"
        processes.wait_until(lambda: self.text(response) != "", f"the response to {message}", _TIMEOUT)
        return self.text(response)
