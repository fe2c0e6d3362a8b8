"""Errors of settings, command-line options and task attributes; nothing is sent to the host."""

from __future__ import annotations

from typing import Any

import luigi
import pytest
from luigi.cmdline_parser import CmdlineParser
from luigi.mock import MockTarget

from luigi_sshjob import RemoteJobTask, RemoteTarget, config
from luigi_sshjob.worker.worker import RemoteJobWorker

from support.error_producers import Environment, Producer, assert_local_error, odd_task
from support.settings import configure


def declared(**attributes: Any) -> Producer:
    return lambda _: odd_task(**attributes).run()


def slurm(**options: Any) -> Producer:
    return declared(launcher="slurm", **options)


def setting(**values: object) -> Producer:
    def read(_: Environment) -> object:
        configure(**values)
        return config.get_settings()

    return read


def section(name: str, **values: object) -> Producer:
    def read(_: Environment) -> object:
        luigi.configuration.get_config().add_section(name)
        for key, value in values.items():
            luigi.configuration.get_config().set(name, key, str(value))
        return config.get_settings()

    return read


def typed(*words: str) -> Producer:
    def read(_: Environment) -> object:
        with CmdlineParser.global_instance(["RemoteJobTask", *words]):
            return config.get_settings()

    return read


def target(path: str) -> RemoteTarget:
    return RemoteTarget(path, "box")


PRODUCERS: list[tuple[str, Producer]] = [
    ("invalid value for setting", setting(poll_interval="nan")),
    ("unknown configuration setting", setting(kill_graze=1)),
    ("setting given twice, with - and with _", setting(**{"kill-grace": 1, "kill_grace": 2})),
    ("cannot expand a reference in Luigi's configuration", setting(poll_interval="%(nothing)s")),
    ("setting not allowed in the section of a host", section("sshjob.box", remote_jobs=1)),
    ("invalid host in the name of a configuration section", section("sshjob.a b", kill_grace=1)),
    ("unknown configuration section", section("sshjob:box", kill_grace=1)),
    ("invalid value for option", typed("--sshjob-kill-grace", "soon")),
    ("tracking_url is not a valid URL pattern", declared(tracking_url="gpu01/{host}")),
    ("remote_jobs must be an integer, 0 or more", lambda _: RemoteJobWorker("many")),
    ("unknown ssh option", declared(ssh_options={5: 1})),
    ("the task has no host", declared(host=None)),
    ("a task must override command()", declared(command=RemoteJobTask.command)),
    ("command() must return a script as a str", declared(command=lambda self: "")),
    ("the command contains a NUL byte", declared(command=lambda self: "a\0b")),
    (
        "the #! line of the command is not its first line, or ends in a carriage return",
        declared(command=lambda self: "\n#!/bin/sh\n"),
    ),
    ("ssh_options must be a dict, not", declared(ssh_options=5)),
    ("base_dir must be a path", declared(base_dir="")),
    ("base_dir must be a path", declared(base_dir=5)),
    ("there is no such launcher", declared(launcher=["nohup"])),
    ("environment must be a dict, not", declared(environment="A=1")),
    ("setup must be a str, not", declared(setup=["export A=1"])),
    ("setup must be a str, not", declared(setup=lambda self: "export A=1")),
    ("the setup contains a NUL byte or a carriage return", declared(setup="export A=1\r\n")),
    ("modules must be names of environment modules", declared(modules=["gcc 13"])),
    ("modules must be names of environment modules", declared(modules=5)),
    ("invalid name of an environment variable", declared(environment={"1A": "x"})),
    ("this environment variable cannot be set for a job", declared(environment={"UID": "x"})),
    ("the value of an environment variable must be a str", declared(environment={"A": 1})),
    ("the value of an environment variable contains a NUL byte", declared(environment={"A": "\0"})),
    ("success_exit_codes must be a tuple", declared(success_exit_codes=None)),
    ("success_exit_codes must be integers from 0 to 255", declared(success_exit_codes=(256,))),
    ("invalid time in a task attribute", declared(time_limit="soon")),
    ("invalid time in a task attribute", slurm(kill_grace=float("nan"))),
    ("time_limit and kill_grace must be finite and not negative", declared(time_limit=-1)),
    ("idle_limit must not be negative", declared(idle_limit=-1)),
    ("log_limit must be a size in bytes", declared(log_limit="1 GB")),
    ("log_limit must be a size in bytes", declared(log_limit=(1000, "rotate"))),
    ("log_limit must be a size in bytes", declared(log_limit=True)),
    ("warning must be a signal and seconds", declared(warning=("KILL", 60))),
    ("warning must be a signal and seconds", declared(warning=("USR1", 0))),
    ("the warning would come before the job starts", declared(warning=("USR1", 60), time_limit=60)),
    ("retries must be numbers by cause", declared(retries={"lots": 1})),
    ("nice must be a whole number from 0 to 19", declared(nice=1.5)),
    ("nice must be a whole number from 0 to 19", declared(nice=-1)),
    ("nice must be a whole number from 0 to 19", declared(nice="20")),
    ("ionice must be a class of ionice(1)", declared(ionice="realtime")),
    ("memory_limit must be a size from one mebibyte to less than two tebibytes", declared(memory_limit=8)),
    ("memory_limit must be a size from one mebibyte to less than two tebibytes", declared(memory_limit="8 bananas")),
    ("memory_limit must be a size from one mebibyte to less than two tebibytes", declared(memory_limit="2T")),
    ("cpu_limit must be a number of cores, at least", declared(cpu_limit=float("inf"))),
    ("cpu_limit must be a number of cores, at least", declared(cpu_limit=True)),
    ("a limit cannot be used with this launcher, whose scheduler has its own", slurm(memory_limit="8G")),
    ("a limit cannot be used with this launcher, whose scheduler has its own", declared(launcher="sge", cpu_limit=2)),
    (
        "a limit cannot be used with this launcher, whose scheduler has its own",
        declared(launcher="htcondor", memory_limit="8G"),
    ),
    ("poll_interval must be greater than 0", declared(poll_interval=0)),
    ("invalid value for a task attribute", declared(cleanup="sometimes")),
    ("an output is neither on the job's host nor a local file", declared(output=lambda self: MockTarget("x"))),
    (
        "two inputs or outputs would share a variable",
        declared(output=lambda self: {"a-b": target("x"), "a b": target("y")}),
    ),
    ("sbatch_options must be a dict", slurm(sbatch_options=5)),
    ("batch must be a positive integer", slurm(batch="x")),
    ("invalid name of an sbatch option", slurm(sbatch_options={"--mem": 1})),
    ("this sbatch option cannot be set for a job", slurm(sbatch_options={"array": 1})),
    ("this abbreviation of an sbatch option cannot be used", slurm(sbatch_options={"arr": 1})),
    ("invalid value for an sbatch option", slurm(sbatch_options={"mem": object()})),
    ("invalid value for an sbatch option", slurm(sbatch_options={"comment": "a\nb"})),
]


@pytest.mark.parametrize(("sentence", "produce"), PRODUCERS, ids=[sentence for sentence, _ in PRODUCERS])
def test_a_local_error_comes_before_anything_is_sent(sentence, produce, env):
    error = assert_local_error(sentence, produce, env)
    if produce.__qualname__.startswith("declared") and not sentence.startswith("the task has no host"):
        assert error.job == "Odd__99914b932b"


def test_exceptions_of_user_methods_are_not_wrapped():
    def command(self: Any) -> str:
        return str({}["none"] or int("x"))

    with pytest.raises(KeyError, match="none"):
        odd_task(command=command).run()
