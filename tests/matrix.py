"""Runs the support matrix, whose cells are tox environments: `python tests/matrix.py [CELL]...`.

`tests/run.sh all` calls it. Two cells run at a time; the output of failed cells is shown. It prints the table of
docs/support.rst.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from support import docker_engine
from support.images import HERE, MACHINES, image

ROOT = Path(__file__).parent.parent
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
LUIGIS = {"luigi36": "Luigi 3.6", "luigi": "newest Luigi", "luigimain": "Luigi's main"}
GATES = {
    "lint": "lint and format",
    "typecheck": "static types",
    "shellcheck": "shell scripts",
    "docs": "documentation, with warnings as errors",
    "package": "package, installed from the wheel",
    "coverage": "all tests in random order, with coverage",
    "chaos": "jobs with random faults",
}
# may be missing in CI; any other missing cell is a failure there
OPTIONAL = ("py314-",)


def cells() -> dict[str, str]:
    """Return the tox environments with their descriptions, in the order of the table."""
    versions = {
        f"py{python.replace('.', '')}-{factor}": f"Python {python}, {luigi}"
        for python in PYTHONS
        for factor, luigi in LUIGIS.items()
        if factor != "luigimain" or os.environ.get("SSHJOB_LUIGI_WHEEL")
    }
    hosts = {name: machine.summary for name, machine in MACHINES.items() if name not in ("debian12", "clean")}
    return {**GATES, **versions, **hosts}


def interpreters() -> str:
    """Return a PATH that includes the Pythons of pyenv."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [str(path) for path in sorted(root.glob("versions/3.*/bin"))]
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *found])


def missing(cell: str, path: str) -> str:
    """Return the reason why a cell cannot run on this machine, or an empty string."""
    for python in PYTHONS:
        if cell.startswith(f"py{python.replace('.', '')}-") and not shutil.which(f"python{python}", path=path):
            return f"no Python {python} on this machine"
    return ""


def run(names: list[str], path: str) -> dict[str, bool]:
    """Run cells and return which passed."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        command = ["run-parallel", "--parallel", "2", "--parallel-no-spinner", "--result-json", str(result)]
        subprocess.run(
            [sys.executable, "-m", "tox", *command, "--skip-missing-interpreters", "false", "-e", ",".join(names)],
            cwd=ROOT,
            env={**os.environ, "PATH": path},
        )
        environments = json.loads(result.read_text())["testenvs"] if result.exists() else {}
    return {name: bool(environments.get(name, {}).get("result", {}).get("success")) for name in names}


def table(rows: dict[str, str], marks: dict[str, str]) -> str:
    width = max(map(len, rows.values()))
    return "\n".join(f"  {summary:{width}}  {marks[name]:4}  tox -e {name}" for name, summary in rows.items())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cells", nargs="*", help="tox environments; by default the complete matrix")
    chosen = parser.parse_args().cells
    rows = {name: summary for name, summary in cells().items() if not chosen or name in chosen}
    unknown = set(chosen) - set(rows)
    if unknown:
        parser.error(f"not a cell of the matrix: {', '.join(sorted(unknown))}")
    path = interpreters()
    reasons = {name: missing(name, path) for name in rows}
    client = docker_engine.connect()
    for name in rows:
        if name in MACHINES and name != HERE:
            try:
                # once, before the cells run in parallel
                image(client, name)
            except docker_engine.NoBaseImage as error:
                reasons[name] = str(error)
    passed = run([name for name in rows if not reasons[name]], path)
    marks = {name: "-" if reasons[name] else "✔" if passed[name] else "✘" for name in rows}
    print("\nThe matrix of this machine:\n")
    print(table(rows, marks))
    for name, reason in reasons.items():
        if reason:
            print(f"  left out: {name}: {reason}")
    failed = [name for name, good in passed.items() if not good]
    print(f"{len(passed) - len(failed)} passed, {len(failed)} failed, {len(rows) - len(passed)} left out")
    lacking = [name for name in rows if reasons[name] and not name.startswith(OPTIONAL)]
    return 1 if failed or (lacking and os.environ.get("CI") == "true") else 0


if __name__ == "__main__":
    sys.exit(main())
