"""The benchmark runs and counts correctly, with sizes too small to measure anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SMALL = ["--jobs", "2", "--peers", "1", "--mib", "1", "--files", "10", "--stream", "1"]
NONE = ["--silent", "0", "--faults", "0", "--held", "0"]


@pytest.mark.needs_docker
@pytest.mark.timeout(400)
def test_the_benchmark_counts_one_login_and_no_bad_job():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench", *SMALL, *NONE],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )
    assert done.returncode == 0, done.stdout + done.stderr

    def row(name: str) -> list[list[str]]:
        """Return the columns of a row, in each table with that row."""
        return [line.split() for line in re.findall(rf"^{re.escape(name)} +(\S.*)$", done.stdout, re.MULTILINE)]

    assert row("jobs of 9 s at once") == [["2"], ["1", "1", "1"]]
    assert row("1 jobs at once: accepted logins") == [["1", "1"]]
    assert [columns[0] for columns in row("accepted logins")] == ["1", "1"]
    assert [columns[0] for columns in row("failed or doubled jobs")] == ["0", "0"]
    assert len(row("end to known, median")) == 2
    assert done.stdout.count(" times faster; 1,000 in one question ") == 2
