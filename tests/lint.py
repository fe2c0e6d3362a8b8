"""Checks of `tox -e lint` that no linter has: refused words, the size of modules, section comments.

The words are those of a translated text; each has a standard term, which docs/contributing.rst names.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
LONGEST_MODULE = 250  # lines
LONGEST_TEST = 400  # lines

REFUSED = re.compile(
    r"\b(?:(?i:whoever|anew|of[ _]ours|is[ _]nobody's|in[ _]vain|so[ _]many|so[ _]long[ _]as|taken[ _]over|for[ _]ever"
    r"|told[ _]from|by[ _]itself|as[ _]ever|mends?|mended|stands|beside|such[ _]a[ _]one|what[ _]is[ _]there)"
    # not Python's `is None`
    r"|[Ii]s[ _]none|[Aa]re[ _]none)\b"
)
SECTION = re.compile(r"^\s*# ?[-=]{2,} ")


def main() -> int:
    """Print each finding as `path:line: what is wrong`; exit status 1 where there is one."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    paths = [ROOT / name for name in listed.stdout.splitlines() if name.endswith((".py", ".sh", ".rst"))]
    findings = [finding for path in paths if path.is_file() and path != Path(__file__) for finding in check(path)]
    print("\n".join(findings) or "no findings")
    return bool(findings)


def check(path: Path) -> list[str]:
    """The findings of one file."""
    name = path.relative_to(ROOT)
    lines = path.read_text(encoding="utf-8").splitlines()
    findings = [
        f"{name}:{number}: refused words: {', '.join(found.group() for found in REFUSED.finditer(line))}"
        for number, line in enumerate(lines, 1)
        if REFUSED.search(line)
    ]
    if path.suffix == ".py" or name.parts[0] == "luigi_sshjob":
        findings += [
            f"{name}:{number}: a section comment: make it a module of its own"
            for number, line in enumerate(lines, 1)
            if SECTION.match(line)
        ]
    longest = LONGEST_TEST if name.parts[0] == "tests" else LONGEST_MODULE
    if path.suffix == ".py" and len(lines) > longest:
        findings.append(f"{name}:{len(lines)}: over {longest} lines: split it by subject")
    return findings


if __name__ == "__main__":
    sys.exit(main())
