"""What a task may ask of a launcher, and what becomes of it."""

from __future__ import annotations

import shlex
from datetime import timedelta

import pytest

from luigi_sshjob.config.schema import LAUNCHERS
from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.launchers import registry
from luigi_sshjob.jobs.launchers.base import LaunchOptions, LaunchSpec
from luigi_sshjob.jobs.launchers.registry import get_launcher

from support.launch_lines import submit_line


def words(**options):
    line = submit_line(get_launcher("slurm").launch(LaunchOptions(**options)))
    given = shlex.split(line)
    return given[given.index("--output=/dev/null") + 2 : given.index("$@")]


def test_options_are_those_of_sbatch_and_are_quoted():
    options = {
        "partition": "gpu",
        "cpus_per_task": 4,
        "exclusive": True,
        "gres": None,
        "comment": "it's $HOME; `x`",
        "nice": 0,
    }
    assert words(options=options)[2:] == [
        *("--partition=gpu", "--cpus-per-task=4", "--exclusive", "--comment=it's $HOME; `x`", "--nice=0"),
    ]


def test_a_job_is_not_requeued_unless_the_task_says_so():
    slurm = get_launcher("slurm")
    assert "--no-requeue" in words()
    assert "--requeue" in words(options={"requeue": True})
    assert [slurm.launch(LaunchOptions(options={"requeue": wish})).requeue for wish in (True, False, None)] == [
        True,
        False,
        False,
    ]


def test_slurm_warns_before_its_limit_and_its_limit_is_behind_the_task_s_own():
    assert words(kill_grace=2.5)[0] == "--signal=B:USR1@13"
    assert words(kill_grace=2.5, warning=60)[0] == "--signal=B:USR1@73"
    # that of the task's own limit is given on the node
    assert words(kill_grace=2.5, warning=60, time_limit=600)[0] == "--signal=B:USR1@13"
    assert words(time_limit=100, kill_grace=10)[-1] == "--time=3"
    assert words(time_limit=100, options={"time": "1-0"})[-1] == "--time=1-0"
    assert words(options={"time": timedelta(hours=2)})[-1] == "--time=120"


@pytest.mark.parametrize(
    "options",
    [
        *({"--mem": 1}, {"mem;id": 1}, {"": 1}, {3: 1}, {"Mem": 1}, "mem=1"),
        *({"job_name": "x"}, {"array": "0-3"}, {"wrap": "id"}, {"output": "x"}, {"test-only": True}),
        # sbatch accepts the beginning of a name
        *(
            {"arr": "0-3"},
            {"chd": "/"},
            {"job": "x"},
            {"out": "x"},
            {"no_req": True},
            {"req": True},
            {"t": 1},
            {"tim": 1},
        ),
        *({"mem": ""}, {"mem": "1\n#"}, {"mem": "1\0"}, {"mem": ["1"]}, {"mem": b"1"}),
    ],
)
def test_an_option_that_sbatch_has_not_or_that_is_ours_is_refused(options):
    with pytest.raises(ConfigurationError, match="Next: "):
        words(options=options)


def test_an_option_is_not_taken_for_the_beginning_of_a_reserved_one():
    names = ("export", "input-file", "nodes", "qos", "time-min", "wait-all-nodes", "hint", "partition", "account")
    assert words(options=dict.fromkeys(names, 1))[2:] == [f"--{name}=1" for name in names]


@pytest.mark.parametrize("batch", [0, -1, 1.5, "2", None])
def test_a_batch_that_is_no_number_of_jobs_is_refused(batch):
    with pytest.raises(ConfigurationError, match="Next: "):
        words(batch=batch)


def test_on_the_host_itself_the_options_of_sbatch_mean_nothing():
    assert get_launcher("nohup").launch(LaunchOptions(options={"partition": "gpu"}, batch=9)) == LaunchSpec()


def test_the_configuration_accepts_exactly_the_registered_launchers():
    assert registry.NAMES == LAUNCHERS


@pytest.mark.parametrize(("launcher", "line"), [("slurm", "#SBATCH --mem=4G"), ("sge", "#$ -q long.q")])
def test_options_in_comments_of_the_command_are_refused_and_never_ignored(launcher, line):
    scheduler = get_launcher(launcher)
    with pytest.raises(
        ConfigurationError, match=r"options in a comment of the command are not read: .*\nNext: move them"
    ):
        scheduler.check_command(f"#!/bin/bash\n# a comment\n\n{line}\necho")
    # the scheduler would not read these
    scheduler.check_command(f"echo\n{line}")
    scheduler.check_command("#SBATCHING\n#$x")
    get_launcher("nohup").check_command(line)
