"""The keys of JSON in docs/cli.rst are those of the programs' output."""

from __future__ import annotations

import json
import re
from pathlib import Path

import luigi
import pytest
from luigi.parameter import ParameterVisibility

import luigi_sshjob
from luigi_sshjob.cli.main import main

PAGE = Path(__file__).parents[2] / "docs" / "cli.rst"


class Counted(luigi_sshjob.RemoteJobTask):
    """A task with parameters of each visibility."""

    name = luigi.Parameter()
    limits = luigi.DictParameter(default={"lines": 3, "it's": "ü"})
    text = luigi.Parameter(default="x" * 5000)
    token = luigi.Parameter(default="insignificant-7", significant=False)
    shown_nowhere = luigi.Parameter(default="", visibility=ParameterVisibility.HIDDEN)
    password = luigi.Parameter(default="", visibility=ParameterVisibility.PRIVATE)

    def command(self) -> str:
        return "echo counted"


def documented(caption: str) -> set[str]:
    """The first column of the table whose caption begins like this."""
    table = PAGE.read_text().partition(f".. list-table:: {caption}")[2].partition("\n")[2]
    # up to the next line that is not indented
    table = re.split(r"^\S", table, maxsplit=1, flags=re.MULTILINE)[0]
    return set(re.findall(r"^   \* - ``(\w+)``$", table, re.MULTILINE))


@pytest.fixture
def ended(bench):
    """A task that has run, before capsys: Luigi's first run binds its log handler to the stderr of that moment."""
    options = {"host": bench.host.alias, "base_dir": bench.base}
    kind = type("Counted", (Counted,), options)
    task = kind(name="moby", shown_nowhere="hidden-7", password="private-7")
    assert luigi.build([task], local_scheduler=True)


def test_the_documented_keys_are_those_of_the_output(bench, ended, capsys):
    def output(*command: str):
        assert main([*command, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    place = ("--base-dir", bench.base, bench.host.alias)
    (listed,) = output("ls", *place)
    assert set(listed) == documented("``ls --json``")
    assert set(listed["outcome"]) == documented("``outcome``")
    shown = output("show", *place, listed["job"])
    assert set(shown) == set(listed) | documented("``show --json``")
    slots = output("slots", *place)
    assert set(slots) == documented("``slots --json``")
    assert set(slots["resources"][0]) == documented("each of ``resources``")
    assert set(output("connections")[0]) == documented("``connections --json``")
    assert output("gc", *place, "--older-than", "0s") == [listed["job"]]


def test_show_has_the_public_parameters_of_the_task_and_no_secret(bench, ended, capsys):
    command = ["show", "--base-dir", bench.base, bench.host.alias, "Counted"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^Task +Counted\nParameters +name = moby\n", shown, re.MULTILINE)
    assert 'limits = {"lines": 3, "it\'s": "ü"}' in shown or "limits = {" in shown
    assert main([*command, "--json"]) == 0
    parameters = json.loads(capsys.readouterr().out)["parameters"]
    assert set(parameters) == {"name", "limits", "text"}
    assert json.loads(parameters["limits"]) == {"lines": 3, "it's": "ü"}
    assert parameters["text"] == "x" * 1000 + "…"
    written = bench.host.run("sh", "-c", f"cat {bench.folder}/jobs/*/1/*", check=False)
    assert "hidden-7" not in written
    assert "private-7" not in written
    assert "insignificant-7" not in written
    # an ISO time in the local zone
    assert re.search(r"^Ran +from \d{4}-\d\d-\d\d \d\d:\d\d:\d\d [A-Z]+ to ", shown, re.MULTILINE)
