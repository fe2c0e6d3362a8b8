"""Every setting, said once: name, default, meaning, unit, and what it may be."""

from __future__ import annotations

import dataclasses
import math
import re
import types
from typing import Any

import luigi

CLEANUP_POLICIES = ("never", "on_success", "always")
EXIT_POLICIES = ("leave", "cancel")
LAUNCHERS = ("nohup", "slurm")
TRANSPORTS = ("openssh", "paramiko")

_MOST = 10**8  # three years in seconds: later than any deadline that a shell or a kernel could not count to


def _setting(default: Any, description: str, **rules: Any) -> Any:
    return dataclasses.field(default=default, metadata={"description": description, **rules})


def _seconds(default: float, description: str, **rules: Any) -> Any:
    return _setting(default, description, unit="seconds", **rules)


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings as they are for one host. Each is described in `SETTINGS`."""

    base_dir: str = _setting(
        "~/.luigi-sshjob",
        "The directory on the host where jobs live; private to the account, made with mode 0700.",
        may_be_empty=False,
    )
    poll_interval: float = _seconds(0.3, "The longest pause between two looks at all jobs of a host.", above=0)
    time_limit: float = _seconds(0.0, "The host ends a job that runs longer; 0 is no limit.")
    kill_grace: float = _seconds(10.0, "The time between TERM and KILL when a job is ended.")
    cleanup: str = _setting(
        "never",
        "When a job whose outcome was taken over is removed from the host. A lost job stays.",
        choices=CLEANUP_POLICIES,
    )
    on_worker_exit: str = _setting(
        "leave", "What becomes of running jobs when Luigi's worker ends.", choices=EXIT_POLICIES
    )
    max_jobs: int = _setting(
        0,
        "Tasks with a job on the host that the scheduler lets run at once, from all workers and accounts; 0 is no "
        "limit. The scheduler needs no setting for it.",
    )
    remote_jobs: int = _setting(
        500,
        "Jobs that luigi-sshjob run and luigi_sshjob.build hold at once, besides the local tasks of --workers.",
        shared="it counts the jobs of one worker on all hosts; max_jobs is for one host",
    )
    launcher: str = _setting("nohup", "How jobs are started on the host.", choices=LAUNCHERS)
    scheduler_interval: float = _seconds(
        15.0, "With slurm: the shortest pause between two questions about all jobs of a host.", above=0
    )
    unreachable_timeout: float = _seconds(
        3600.0, "How long a running task waits for a host that does not answer; its job goes on meanwhile."
    )
    log_lines: int = _setting(
        100, "Lines of a job's log that go to Luigi's log in a minute; it says how many it left out."
    )
    tracking_url: str = _setting(
        "",
        "The address of a page about a job, which luigid's page links to, with {host}, {job} or {id}, {key}, "
        "{attempt}, {directory}, {task_id}: http://grafana/d/node?var-host={host}&job={id}.",
    )
    transport: str = _setting("openssh", "How the host is reached.", choices=TRANSPORTS)
    existing_master: str = _setting(
        "no",
        "With require the connection that you have made yourself is used, and waited for; nothing ever logs in.",
        choices=("no", "require"),
    )
    ssh_config: str = _setting("", "A file for ssh -F, in place of ~/.ssh/config.")
    runtime_dir: str = _setting(
        "",
        "The local directory of sockets and locks, made with mode 0700; /tmp/luigi-sshjob-UID if empty. Processes "
        "share a connection when they share this.",
        shared="it is where the processes of this machine meet, whatever the host",
    )
    connect_timeout: int = _seconds(15, "For a login, unless ssh_options say otherwise.", above=0)
    connect_attempts: int = _setting(3, "Logins tried when the server drops us at once (MaxStartups).", above=0)
    request_timeout: float = _seconds(60.0, "For the answer to one request.", above=0)
    keepalive_interval: int = _seconds(15, "As ssh's ServerAliveInterval; 0 never gives a silent connection up.")
    keepalive_count: int = _setting(3, "As ssh's ServerAliveCountMax.", above=0)
    control_persist: int = _seconds(600, "An unused connection is closed after this time.", above=0)
    max_sessions: int = _setting(
        8,
        "Sessions open at once on a host, for all processes together; fewer where the server refuses so many. Keep it "
        "below the server's MaxSessions (10 unless changed).",
        above=0,
    )


@dataclasses.dataclass(frozen=True)
class Setting:
    """What may be said of one setting; `shared` is why it cannot stand in the section of a host, if it cannot."""

    name: str
    default: Any
    description: str
    unit: str = ""
    choices: tuple[str, ...] = ()
    above: float | None = None
    may_be_empty: bool = True
    shared: str = ""

    @property
    def kind(self) -> str:
        """What a value is: "text", "whole number" or "number"."""
        return {str: "text", int: "whole number", float: "number"}[type(self.default)]

    def value(self, given: object) -> Any:
        """What was written in a file or on a command line. Raises `ValueError`, which says what is wanted."""
        if self.choices:
            if given not in self.choices:
                raise ValueError(f"one of {', '.join(self.choices)}")
            return given
        return self._text(given) if isinstance(self.default, str) else self._number(given)

    def _text(self, given: object) -> str:
        # in an INI file a line that is indented belongs to the value of the line before
        if not isinstance(given, str) or re.search(r"[\0\r\n]", given) or not (given.strip() or self.may_be_empty):
            raise ValueError("text of one line" if self.may_be_empty else "text of one line, which is not empty")
        return given

    def _number(self, given: object) -> float:
        wanted = f"a {self.kind}{f' of {self.unit}' if self.unit else ''}"
        wanted += f", {'0 or more' if self.above is None else f'above {self.above}'} and at most {_MOST}"
        kind = type(self.default)
        # TOML has types of its own
        if isinstance(given, bool) or not isinstance(given, (str, int, kind)):
            raise ValueError(wanted)
        try:
            found: float = kind(given)
        except (ValueError, OverflowError):
            raise ValueError(wanted) from None
        low_enough = math.isfinite(found) and found <= _MOST
        if not low_enough or found < 0 or (self.above is not None and found <= self.above):
            raise ValueError(wanted)
        return found

    def parameter(self) -> Any:
        """As Luigi declares it."""
        text = self.description
        if self.unit:
            text += f" In {self.unit}."
        if self.shared:
            text += f" Not in the section of a host: {self.shared}."
        if self.choices:
            return luigi.ChoiceParameter(default=self.default, choices=self.choices, description=text)
        kinds: dict[type, Any] = {str: luigi.Parameter, int: luigi.IntParameter, float: luigi.FloatParameter}
        return kinds[type(self.default)](default=self.default, description=text)


SETTINGS = {
    field.name: Setting(name=field.name, default=field.default, **field.metadata)
    for field in dataclasses.fields(Settings)
}


def setting_named(key: str) -> Setting | None:
    """By its name in a file, with dashes or underscores, as Luigi takes either."""
    return SETTINGS.get(key.replace("-", "_"))


def _body(namespace: dict[str, Any]) -> None:
    namespace["__module__"] = __name__
    namespace["__doc__"] = "Defaults for every host and task, as Luigi declares them: [sshjob], --sshjob-poll-interval."
    namespace.update({setting.name: setting.parameter() for setting in SETTINGS.values()})


# Luigi names a section, and the options of its command line, after a class
sshjob: Any = types.new_class("sshjob", (luigi.Config,), exec_body=_body)
