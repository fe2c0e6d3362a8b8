"""examples/quickstart.sh, and the tests that pages name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.doc_examples import PAGES, ROOT
from support.error_catalogue import all_test_names

LICENCES = Path("/usr/share/common-licenses")

needs_licences = pytest.mark.skipif(not LICENCES.is_dir(), reason=f"no {LICENCES} on this machine")


def check_result(result: str) -> None:
    """Run the command with which the report lets users check one of its numbers."""
    most, command = re.search(r"^ +(\d+)  \w+$", result, re.MULTILINE)[1], result.strip().splitlines()[-1]
    by_hand = subprocess.run(["sh", "-c", command], capture_output=True, text=True).stdout
    assert by_hand.strip() == most


def files_in_tmp() -> list[str]:
    return sorted(name for name in os.listdir("/tmp") if name.startswith(("sshjob.", "luigi-sshjob")))


@needs_licences
@pytest.mark.timeout(600)
@pytest.mark.skipif(
    not shutil.which("sshd", path="/usr/sbin") and os.environ.get("CI") != "true",
    reason="examples/quickstart.sh would install openssh-server",
)
def test_the_quickstart_runs_and_leaves_nothing(tmp_path):
    before = files_in_tmp()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LUIGI", "PYTHON"))}
    done = subprocess.run(
        [ROOT / "examples" / "quickstart.sh"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "logins that sshd accepted for all of it: 1" in done.stdout
    check_result(done.stdout[: done.stdout.index("==> logins")])
    assert files_in_tmp() == before


@needs_licences
def test_the_same_pipeline_runs_on_any_host(host, luigi_cfg, tmp_path):
    before = host.accepted_logins()
    arguments = ["--host", host.alias, "--result", str(tmp_path / "result"), "--local-scheduler", "--workers", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "luigi", "--module", "quickstart", "Report", *arguments, "--no-lock"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'examples'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
    )
    host.run("rm", "-rf", "luigi-sshjob-quickstart")
    assert "8 ran successfully" in done.stderr, done.stderr
    check_result((tmp_path / "result").read_text())
    assert host.accepted_logins() == before + 1


def test_each_test_in_a_page_exists():
    named = re.findall(r"``(test_\w+)``", "".join(path.read_text() for path in PAGES))
    assert len(named) > 70
    assert set(named) <= set(all_test_names())
