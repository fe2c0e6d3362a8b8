"""What mypy reports to a user who declares tasks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import luigi
import pytest

import luigi_sshjob

from support.doc_examples import blocks

pytest.importorskip("mypy")

# In README the methods have no annotations, as in most Luigi projects.
CONFIGURATION = """\
[mypy]
strict = True
[mypy-readme]
disallow_untyped_defs = False
check_untyped_defs = True
"""

FORMS = """\
from __future__ import annotations
from collections.abc import Mapping
from datetime import timedelta
import luigi
from luigi_sshjob import RemoteJobTask, RemoteTarget
from readme import CountWords

class Values(RemoteJobTask):
    host = "box"
    ssh_options = {"username": "me", "port": 22}
    environment = {"LC_ALL": "C"}
    success_exit_codes = (0, 3)
    time_limit = 3600
    kill_grace = timedelta(seconds=20)
    on_worker_exit = "cancel"
    launcher = "slurm"
    sbatch_options = {"mem": "8G", "exclusive": True}
    batch = 10
    book = luigi.Parameter()

    def command(self) -> str:
        return f"wc -w {self.book}"

    def output(self) -> dict[str, RemoteTarget]:
        return {"count": self.remote_target("count")}

class Parameters(RemoteJobTask):
    host = luigi.Parameter()
    time_limit = luigi.FloatParameter(default=60.0)
    kill_grace = luigi.TimeDeltaParameter(default=timedelta(seconds=5))
    cleanup = luigi.ChoiceParameter(choices=["never", "always"], default="never")
    batch = luigi.IntParameter(default=1)

class Annotated(RemoteJobTask):
    host: str = "box"
    success_exit_codes: tuple[int, ...] = ()

class Properties(RemoteJobTask):
    number = luigi.IntParameter(default=3)

    @property
    def host(self) -> str:
        return f"box{self.number}"

    @property
    def environment(self) -> Mapping[str, str]:
        return {"TOKEN": "secret"}

    @property
    def time_limit(self) -> timedelta:
        return timedelta(hours=self.number)

class Derived(Values):
    host = "other"
    environment = {**Values.environment, "TZ": "UTC"}
    success_exit_codes = (1, 2)

CountWords(book="x"), Values("x"), Values(book="x"), Parameters(host="x"), Properties(number=4), Derived(book="x")
host: str = Properties().host
outcome = Values(book="x").job.outcome()
succeeded: bool = outcome is not None and outcome.succeeded
"""

MISTAKES = """\
from luigi_sshjob import RemoteJobTask

class Wrong(RemoteJobTask):
    host = 3
    environment = ["A=b"]
    time_limit = "1h"
    batch = "many"

    def command(self) -> bytes:
        return b"true"
"""


@pytest.fixture
def check(tmp_path):
    """Runs mypy on the files with these names and texts, with this package found where a user's mypy finds it."""
    packages = Path(luigi_sshjob.__file__).parents[1]
    environment = dict(os.environ)
    if packages.name != "site-packages":
        environment["MYPYPATH"] = str(packages)

    def check(**files: str) -> str:
        (tmp_path / "mypy.ini").write_text(CONFIGURATION)
        for name, content in files.items():
            (tmp_path / f"{name}.py").write_text(content)
        command = [sys.executable, "-m", "mypy", *(f"{name}.py" for name in files)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True).stdout

    return check


@pytest.mark.skipif(not hasattr(luigi.Parameter, "__class_getitem__"), reason="this Luigi's parameters have no types")
def test_attributes_may_be_overridden_in_each_form_and_mistakes_are_found(check):
    (example,) = [block.text for block in blocks("python", "README.rst") if "class CountWords" in block.text]
    found = check(readme=example, forms=FORMS, mistakes=MISTAKES)
    lines = [line for line in found.splitlines() if " error: " in line]
    elsewhere = [line for line in lines if not line.startswith("mistakes.py:")]
    assert not elsewhere
    assert [int(number) for number in re.findall(r"^mistakes\.py:(\d+): error", found, re.MULTILINE)] == [4, 5, 6, 7, 9]
