"""README.rst and docs/ as tests read them: their examples and their tables, without Sphinx."""

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
    """One example; `caption` is the file that it is, or a part of."""

    page: str
    language: str
    caption: str
    text: str

    @property
    def commands(self) -> list[str]:
        """What is typed in a console."""
        return [line[2:] for line in self.text.splitlines() if line.startswith("$ ")]


def blocks(language: str = "", page: str = "") -> list[Block]:
    """Of one language or all, of one page or all, in their order."""
    found = []
    for path in PAGES:
        for match in _BLOCK.finditer(path.read_text()):
            # the README has to do with what docutils knows
            caption = re.search(r":(?:caption|name): (.+)", match["options"])
            block = Block(path.name, match["language"], caption[1] if caption else "", textwrap.dedent(match["body"]))
            if language in ("", block.language) and page in ("", path.name):
                found.append(block)
    return found


def text(page: str) -> str:
    """Of one page."""
    return next(path for path in PAGES if path.name == page).read_text()


def first_column(page: str, head: str) -> list[str]:
    """The names in the first column of the table that has this over it."""
    table = text(page).partition(f"   * - {head}\n")[2]
    return _CELL.findall(re.split(r"\n\n(?=\S)", table)[0])
