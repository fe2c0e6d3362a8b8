"""Declares every setting: name, default, description, unit and valid values."""

from __future__ import annotations

import dataclasses
import types
from typing import Any

import luigi

from luigi_sshjob.config.setting import Setting

CLEANUP_POLICIES = ("never", "on_success", "always")
EXIT_POLICIES = ("leave", "cancel")
LAUNCHERS = ("nohup", "slurm", "sge", "htcondor")
TRANSPORTS = ("auto", "openssh", "paramiko", "local")


def _setting(default: Any, description: str, **rules: Any) -> Any:
    return dataclasses.field(default=default, metadata={"description": description, **rules})


def _seconds(default: float, description: str, **rules: Any) -> Any:
    return _setting(default, description, unit="seconds", **rules)


def _switch(default: str, description: str) -> Any:
    return _setting(default, description, choices=("false", "true"))


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings for one host. `SETTINGS` describes each of them."""

    base_dir: str = _setting(
        "~/.luigi-sshjob",
        "Directory on the host that holds the jobs; private to the account, created with mode 0700.",
        may_be_empty=False,
    )
    poll_interval: float = _seconds(0.3, "Longest pause between two polls of all jobs on a host.", above=0)
    time_limit: float = _seconds(0.0, "The host ends a job that runs longer; 0 means no limit.")
    kill_grace: float = _seconds(10.0, "Time between SIGTERM and SIGKILL when a job is ended.")
    idle_limit: float = _seconds(
        0.0, "The host ends a job that writes nothing to its log or its progress for so long; 0 means no limit."
    )
    log_limit: str = _setting(
        "",
        "Size of a log in bytes at which the host ends the job, or shortens the log: 1000000000, 1000000000 truncate.",
        unit="bytes",
    )
    retries: str = _setting(
        "",
        "How often one run of a task starts another attempt itself, by cause: lost:3 preempted:5 memory:1 timed_out:0.",
    )
    nice: int = _setting(0, "How much lower the CPU priority of jobs is, from 0 to 19, as of nice(1).")
    ionice: str = _setting("", "The I/O priority of jobs: idle, or best-effort:0 to best-effort:7, as of ionice(1).")
    memory_limit: str = _setting(
        "", "The memory that a job may use, such as 8G; empty means no limit. Not with a scheduler, which has its own."
    )
    cpu_limit: float = _setting(
        0.0, "The number of cores whose time a job may use, such as 2 or 0.5; 0 means no limit. Not with a scheduler."
    )
    cleanup: str = _setting(
        "never",
        "When to remove a collected job from the host. Lost jobs are kept.",
        choices=CLEANUP_POLICIES,
    )
    on_worker_exit: str = _setting(
        "leave", "What to do with running jobs when Luigi's worker ends.", choices=EXIT_POLICIES
    )
    max_jobs: int = _setting(
        0,
        "Tasks with a job on the host that the scheduler runs at the same time, from all workers and accounts; 0 means "
        "no limit. The scheduler needs no setting for it.",
    )
    remote_jobs: int = _setting(
        500,
        "Jobs that luigi-sshjob run and luigi_sshjob.build run at the same time, in addition to the local tasks of "
        "--workers.",
        global_reason="it limits the jobs of one worker on all hosts, and max_jobs those on one host",
    )
    setup: str = _setting(
        "",
        "Lines of a shell that each job runs before its command, in the same shell, such as module load or conda "
        "activate.",
        lines=True,
    )
    modules: str = _setting(
        "", "Environment modules that are loaded before the lines of setup: gcc/13 openmpi.", lines=True
    )
    login_shell: str = _switch(
        "false",
        "With true, the job first reads /etc/profile and ~/.bash_profile or ~/.profile, as a login does.",
    )
    launcher: str = _setting("nohup", "How jobs are started on the host.", choices=LAUNCHERS)
    scheduler_interval: float = _seconds(
        15.0, "With a scheduler: shortest pause between two queries for all jobs of a host.", above=0
    )
    queue_timeout: float = _seconds(
        0.0,
        "How long a task waits for a job that its scheduler does not start, or that waits for slots; then it fails, "
        "and the job stays in the queue. 0 means no limit.",
    )
    slots: str = _setting("", "What jobs with slots share: gpu:4 cpu:32. The host is asked about GPUs and processors.")
    slots_dir: str = _setting("", "Local directory on the host for its slots; empty: below base_dir, for one account.")
    unreachable_timeout: float = _seconds(
        3600.0, "How long a running task waits for an unreachable host; its job continues meanwhile."
    )
    log_lines: int = _setting(
        100, "Lines per minute copied from a job's log to Luigi's log, which also reports how many were omitted."
    )
    tracking_url: str = _setting(
        "",
        "URL of a page about a job, linked from luigid's page, with {host}, {job} or {id}, {key}, {attempt}, "
        "{directory}, {task_id}: http://grafana/d/node?var-host={host}&job={id}.",
    )
    accepts_messages: str = _switch(
        "true", "With false, messages from luigid's page, such as cancel, do nothing, and the page offers none."
    )
    send_messages: str = _switch(
        "true", "With false, luigid receives no status, log lines, progress, statistics or tracking URL of jobs."
    )
    transport: str = _setting(
        "auto", "How to connect to the host; auto is local for localhost, and openssh otherwise.", choices=TRANSPORTS
    )
    existing_master: str = _setting(
        "no",
        "With require, use the connection that you have opened yourself, or wait for it; never log in.",
        choices=("no", "require"),
    )
    ssh_config: str = _setting("", "File for ssh -F, instead of ~/.ssh/config.")
    forward_agent: str = _switch(
        "false",
        "With true, jobs and commands can use the ssh agent of this machine, if the ssh configuration forwards it.",
    )
    runtime_dir: str = _setting(
        "",
        "Local directory for sockets and locks, created with mode 0700; /tmp/luigi-sshjob-UID if empty. Processes with "
        "the same directory share connections.",
        global_reason="the processes of this machine share it for all hosts",
    )
    connect_timeout: int = _seconds(15, "Timeout of a login, unless ssh_options set another.", above=0)
    connect_attempts: int = _setting(
        3, "Login attempts when the server drops connections immediately (MaxStartups).", above=0
    )
    request_timeout: float = _seconds(60.0, "Timeout of one request.", above=0)
    path_timeout: float = _seconds(
        20.0,
        "Time limit on the host for a question about a path, such as `exists`; at most half of request_timeout.",
        above=0,
    )
    keepalive_interval: int = _seconds(15, "As ssh's ServerAliveInterval; 0 never gives up a silent connection.")
    keepalive_count: int = _setting(3, "As ssh's ServerAliveCountMax.", above=0)
    control_persist: int = _seconds(600, "Close an unused connection after this time.", above=0)
    max_sessions: int = _setting(
        8,
        "Sessions open at the same time on a host, for all processes together; fewer if the server refuses that many. "
        "Keep it below the server's MaxSessions (10 by default).",
        above=0,
    )


SETTINGS = {
    field.name: Setting(name=field.name, default=field.default, **field.metadata)
    for field in dataclasses.fields(Settings)
}


def find_setting(key: str) -> Setting | None:
    """Return a setting by its key in a file, with dashes or underscores as in Luigi, or None."""
    return SETTINGS.get(key.replace("-", "_"))


def _body(namespace: dict[str, Any]) -> None:
    namespace["__module__"] = __name__
    namespace["__doc__"] = "Defaults for all hosts and tasks, declared for Luigi: [sshjob], --sshjob-poll-interval."
    namespace.update({setting.name: setting.parameter() for setting in SETTINGS.values()})


# Luigi names the section and the command-line options after the class
sshjob: Any = types.new_class("sshjob", (luigi.Config,), exec_body=_body)
"""The settings: `[sshjob]` in Luigi's configuration, `[sshjob.HOST]` for one host, `--sshjob-…` on a command line."""
