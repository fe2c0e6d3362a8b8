"""Examples and tables of README.rst and docs/, without Sphinx."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.rst", *sorted((ROOT / "docs").glob("*.rst"))]

_BLOCK = re.compile(
    r"^\.\. code-block:: (?P<language>\w+)\n(?P<options>(?:   :.*\n)*)\n(?P<body>(?:(?: {3,}.*)?\n)+)", re.MULTILINE
)
_CELL = re.compile(r"^   \* - ``(.+?)``$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Block:
    """One example; `caption` names the file that it belongs to."""

    page: str
    language: str
    caption: str
    text: str

    @property
    def commands(self) -> list[str]:
        """The commands of a console example."""
        return [line[2:] for line in self.text.splitlines() if line.startswith("$ ")]


def blocks(language: str = "", page: str = "") -> list[Block]:
    """Return the examples in order, optionally of one language or page."""
    found = []
    for path in PAGES:
        for match in _BLOCK.finditer(path.read_text()):
            # the README uses `name`, because plain docutils has no `caption`
            caption = re.search(r":(?:caption|name): (.+)", match["options"])
            block = Block(path.name, match["language"], caption[1] if caption else "", textwrap.dedent(match["body"]))
            if language in ("", block.language) and page in ("", path.name):
                found.append(block)
    return found


def text(page: str) -> str:
    """Return the text of a page."""
    return next(path for path in PAGES if path.name == page).read_text()


def first_column(page: str, head: str) -> list[str]:
    """Return the names in the first column of the table with this heading."""
    table = text(page).partition(f"   * - {head}\n")[2]
    return _CELL.findall(re.split(r"\n\n(?=\S)", table)[0])
