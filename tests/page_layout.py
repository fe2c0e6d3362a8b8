"""Check of `tox -e docs`: no page scrolls sideways, on a screen or on a telephone, and tables fit on a screen."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from support.browser import NoBrowser, Page

SCREEN, TELEPHONE = 1280, 400  # pixels
_TOO_WIDE = """
    const page = document.documentElement;
    const tables = [...document.querySelectorAll(".table-wrapper")];
    const problems = page.scrollWidth > page.clientWidth ? [`the page is ${page.scrollWidth} pixels wide`] : [];
    // on a telephone a table scrolls in its own box
    for (const table of arguments[0] ? tables.filter(one => one.scrollWidth > one.clientWidth) : []) {
        const text = table.textContent.trim().replace(/\\s+/g, " ").slice(0, 60);
        problems.push(`a table is ${table.scrollWidth} pixels wide: ${text}`);
    }
    return problems;
"""


def main(folder: Path) -> int:
    """Print each finding of the built pages; the exit status is 1 if there are any, or if a page is missing."""
    pages = sorted(folder.glob("*.html"))
    if len(pages) < len(list((Path(__file__).parent.parent / "docs").glob("*.rst"))):
        print(f"{folder}: build the documentation first")
        return 1
    with tempfile.TemporaryDirectory() as profile:
        try:
            browser = Page(Path(profile))
        except NoBrowser as reason:
            print(f"page_layout: left out: {reason}")
            return int(os.environ.get("CI") == "true")
        try:
            findings = check(browser, pages)
        finally:
            browser.close()
    print("\n".join(findings) or f"page_layout: {len(pages)} pages fit")
    return bool(findings)


def check(browser: Page, pages: list[Path]) -> list[str]:
    """Return the findings in all pages, at both widths."""
    findings = []
    for width in (SCREEN, TELEPHONE):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        # not the size of the window, which has a minimum
        browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for page in pages:
            browser.driver.get(page.as_uri())
            problems = browser.driver.execute_script(_TOO_WIDE, width == SCREEN)
            findings += [f"{page.name}, {width} pixels: {problem}" for problem in problems]
    return findings


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
