"""Files of recorded output: a section for each command that was run.

A section is a line `=== NAME KEY=ID...`, a line `status N`, and the lines of stdout and of stderr, with `| ` and `! `
in front. A line without a newline at its end is followed by `\\`.
"""

from __future__ import annotations

from pathlib import Path


def read(path: Path) -> dict[str, tuple[dict[str, str], int, str, str]]:
    """The sections of a file: ids, exit status, stdout and stderr."""
    sections = {}
    for section in path.read_text(encoding="utf-8").removeprefix("=== ").split("\n=== "):
        head, status, *lines = section.rstrip("\n").split("\n")
        name, *pairs = head.split(" ")
        texts = {"| ": "", "! ": ""}
        for number, line in enumerate(lines):
            if line != "\\":
                end = "" if lines[number + 1 : number + 2] == ["\\"] else "\n"
                texts[line[:2]] += line[2:] + end
        ids = dict(pair.split("=", 1) for pair in pairs)
        sections[name] = (ids, int(status.removeprefix("status ")), texts["| "], texts["! "])
    return sections


def section(name: str, ids: dict[str, str], status: int, stdout: str, stderr: str) -> str:
    """The text of a section."""
    head = "".join(f" {key}={value}" for key, value in ids.items())
    return f"=== {name}{head}\nstatus {status}\n" + _prefixed("| ", stdout) + _prefixed("! ", stderr)


def _prefixed(prefix: str, text: str) -> str:
    lines = "".join(f"{prefix}{line}" for line in text.splitlines(keepends=True))
    return lines + ("\n\\\n" if text[-1:] not in "\n" else "")
