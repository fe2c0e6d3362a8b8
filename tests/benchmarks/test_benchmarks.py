"""The benchmark runs and counts correctly, with sizes too small to measure anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PARTS = ["scale", "luigi", "log lines", "peers", "exists", "files", "inputs", "transports"]
SMALL = ["--small", "2", "--large", "--peers", "1", "--mib", "1", "--files", "10", "--shared", "1", "--copies", "1"]


@pytest.mark.needs_docker
@pytest.mark.timeout(500)
def test_the_benchmark_counts_one_login_and_no_bad_job():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench", "--parts", *PARTS, *SMALL],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(TESTS), os.environ.get("PYTHONPATH", "")))},
    )
    # 1 also if a time is not reached, which means nothing with these sizes
    assert done.returncode in (0, 1), done.stderr
    counted = re.findall(
        r"^\S+(?: new| stock)?: (?:logins|sessions|drops)\b.*: (met|NOT MET)$", done.stdout, re.MULTILINE
    )
    # of one job, of two, on a new base directory and with the stock worker
    assert counted == ["met"] * 12, done.stdout + done.stderr

    def row(name: str) -> list[list[str]]:
        """Return the columns of a row, in each table with that row."""
        return [line.split() for line in re.findall(rf"^{re.escape(name)} +(\S.*)$", done.stdout, re.MULTILINE)]

    assert row("failed or doubled jobs")[0] == ["0"] * 4
    assert row("1 jobs at once: accepted logins") == [["1", "1"]]
    assert row("accepted logins")[0][0] == "1"
    assert row("transfers of the input") == [["0", "1", "0"]]
    assert len(row("end to known, median")) == 2
    assert done.stdout.count(" times faster; 1,000 in one question ") == 2
    assert "exists() of a path, times faster than Luigi's" in done.stdout
