"""The soak test works, with too few jobs to find a slow leak."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.timeout(400)
def test_short_jobs_run_once_and_leave_nothing_behind_while_masters_are_killed():
    done = subprocess.run(
        [sys.executable, TESTS / "soak.py", "--jobs", "60", "--minutes", "5", "--seed", "3"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^jobs +60$", done.stdout, re.MULTILINE)
    deaths, logins = (
        int(re.search(rf"^{name} +(\d+)$", done.stdout, re.MULTILINE)[1]) for name in ("masters killed", "logins")
    )
    assert logins <= deaths + 1
