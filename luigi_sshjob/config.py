"""The section `[sshjob]` of Luigi's configuration."""

from __future__ import annotations

import configparser
import math
import sys

import luigi
import luigi.configuration
from luigi.cmdline_parser import CmdlineParser

from luigi_sshjob.errors import ConfigurationError

CLEANUP_POLICIES = ("never", "on_success", "always")
EXIT_POLICIES = ("leave", "cancel")


class sshjob(luigi.Config):  # Luigi names a section after its class
    """Defaults for every host and task; a task's own attribute of the same name comes first.

    All times are seconds.
    """

    base_dir = luigi.Parameter(
        default="~/.luigi-sshjob",
        description="where jobs live on the host; private to the account, made 0700",
    )
    poll_interval = luigi.FloatParameter(
        default=0.3, description="longest pause between two looks at all jobs of a host together"
    )
    time_limit = luigi.FloatParameter(default=0.0, description="the host ends a job that runs longer; 0: no limit")
    kill_grace = luigi.FloatParameter(default=10.0, description="between TERM and KILL when a job is ended")
    cleanup = luigi.ChoiceParameter(
        default="never",
        choices=CLEANUP_POLICIES,
        description="when a collected attempt is removed from the host",
    )
    on_worker_exit = luigi.ChoiceParameter(
        default="leave", choices=EXIT_POLICIES, description="what an ordinary end of Luigi's worker means for its jobs"
    )
    remote_jobs = luigi.IntParameter(
        default=500, description="jobs that `luigi-sshjob run` holds at once, besides the local tasks of --workers"
    )
    launcher = luigi.Parameter(default="nohup", description="how jobs are started on the host: nohup or slurm")
    scheduler_interval = luigi.FloatParameter(
        default=15.0, description="shortest pause between two questions to a scheduler about all jobs of a host"
    )
    unreachable_timeout = luigi.FloatParameter(
        default=3600.0,
        description="how long a task waits for a host that does not answer; its job goes on meanwhile",
    )
    log_lines = luigi.IntParameter(
        default=100,
        description="lines of a job's log that go to Luigi's logger in a minute; the rest is counted",
    )
    transport = luigi.Parameter(default="openssh", description="how hosts are reached: openssh or paramiko")
    existing_master = luigi.ChoiceParameter(
        default="no",
        choices=("no", "require"),
        description="require: use the connection that you have made yourself, and never log in",
    )
    ssh_config = luigi.Parameter(default="", description="a file for ssh -F in place of ~/.ssh/config")
    runtime_dir = luigi.Parameter(
        default="", description="local sockets and locks, private; default /tmp/luigi-sshjob-<uid>"
    )
    connect_timeout = luigi.IntParameter(default=15, description="for a login, unless ssh_options say otherwise")
    connect_attempts = luigi.IntParameter(default=3, description="logins tried when the server drops us at once")
    request_timeout = luigi.FloatParameter(default=60.0, description="for the answer to one request")
    keepalive_interval = luigi.IntParameter(default=15, description="ssh's ServerAliveInterval")
    keepalive_count = luigi.IntParameter(default=3, description="ssh's ServerAliveCountMax")
    control_persist = luigi.IntParameter(default=600, description="an unused connection is closed after this time")
    max_sessions = luigi.IntParameter(default=8, description="sessions open at once; below the server's MaxSessions")


_known: tuple[object, sshjob] | None = None


def settings() -> sshjob:
    """The configuration as it is now. Raises `ConfigurationError` for a value that cannot be used."""
    global _known
    # Luigi reads all options anew for each instance, which takes longer than a request to a host does
    source = _source()
    if _known is None or _known[0] != source:
        _known = (source, _checked())
    return _known[1]


def _source() -> object:
    parser = luigi.configuration.get_config()
    try:
        section = dict(parser["sshjob"])
    except KeyError:
        section = {}
    except configparser.Error as error:
        raise _unreadable(error) from error
    return section, CmdlineParser.get_instance()


def _checked() -> sshjob:
    try:
        found = sshjob()
    except ValueError as error:
        raise _unreadable(error) from error
    for name in _ABOVE_ZERO:
        if not 0 < getattr(found, name) < math.inf:
            raise ConfigurationError(
                f"a setting of [sshjob] is not above 0: {name} is {getattr(found, name)}",
                next_step="give a number above 0 in luigi.cfg",
            )
    for name in _FROM_ZERO:
        # a host may be waited for without end
        if not 0 <= getattr(found, name) <= (math.inf if name == "unreachable_timeout" else sys.maxsize):
            raise ConfigurationError(
                f"a setting of [sshjob] is below 0: {name} is {getattr(found, name)}",
                next_step="give 0 or a number above it in luigi.cfg",
            )
    return found


def _unreadable(error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"the section [sshjob] cannot be used: {error}{f' ({error.__cause__})' if error.__cause__ else ''}",
        next_step="correct luigi.cfg",
    )


_ABOVE_ZERO = (
    "poll_interval",
    "scheduler_interval",
    "request_timeout",
    "connect_timeout",
    "connect_attempts",
    "control_persist",
    "max_sessions",
)
_FROM_ZERO = ("time_limit", "kill_grace", "remote_jobs", "unreachable_timeout", "log_lines", "keepalive_interval")
