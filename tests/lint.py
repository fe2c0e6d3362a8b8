"""Checks of `tox -e lint` that no other linter offers: refused words, section comments, the size of modules."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEXT = {".cff", ".cfg", ".ini", ".md", ".py", ".rst", ".sh", ".toml", ".yaml", ".yml"}
LONGEST_MODULE = 250  # lines
LONGEST_TEST = 400  # lines

REFUSED = {
    "whoever": "the caller, the process, the client",
    "anew": "again",
    "is none": "does not exist, is invalid, is missing",
    "are none": "do not exist, are invalid, are missing",
    "of ours": "of this package",
    "is nobody's": "is unknown, is unused",
    "in vain": "without success",
    "so many": "up to N",
    "so long as": "while",
    "taken over": "collected",
    "for ever": "forever, without a limit",
    "told from": "distinguished from",
    "by itself": "automatically, on its own",
    "as ever": "as before",
    "mend": "fix",
    "mends": "fixes",
    "mended": "fixed",
    "stands": "is",
    "beside": "next to, compared with",
    "such a one": "name it",
    "what is there": "name it",
}
# Only the first letter may be a capital, because of Python's `is None`. "If there is none" is good English.
_REFUSED = re.compile(
    rf"\b(?<!there )(?:{'|'.join(f'(?i:{word[0]}){word[1:]}' for word in REFUSED)})\b".replace(" ", "[ _]")
)
_SECTION = re.compile(r"^\s*# ?[-=]{2,} ")


def main() -> int:
    """Print each finding as `path:line: problem`; the exit status is 1 if there are any."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    paths = [ROOT / name for name in listed.stdout.splitlines() if Path(name).suffix in TEXT or name == ".ci/run"]
    findings = [
        f"{path.relative_to(ROOT)}:{finding}"
        for path in paths
        if path.is_file() and path != Path(__file__)
        for finding in check(path)
    ]
    print("\n".join(findings) or "no findings")
    return bool(findings)


def check(path: Path) -> Iterator[str]:
    """Yield the findings in one file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    folder = path.relative_to(ROOT).parts[0]
    code = path.suffix == ".py" or folder == "luigi_sshjob"
    for number, line in enumerate(lines, 1):
        for match in _REFUSED.finditer(line):
            word = match.group().lower().replace("_", " ")
            yield f"{number}: refused words {word!r}: write {REFUSED[word]}"
        if code and _SECTION.match(line):
            yield f"{number}: section comment: move the section to its own module"
    longest = LONGEST_TEST if folder == "tests" else LONGEST_MODULE
    if code and len(lines) > longest:
        yield f"{len(lines)}: more than {longest} lines: split it by subject"


if __name__ == "__main__":
    sys.exit(main())
