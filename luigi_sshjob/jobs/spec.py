"""The specification of a job: validated before anything is sent, then written to files of the job directory."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import posixpath
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.gentle import Gentle
from luigi_sshjob.jobs.inputs import Input, spec_lines
from luigi_sshjob.jobs.launchers.base import LaunchSpec
from luigi_sshjob.jobs.limits import Limits
from luigi_sshjob.jobs.model import digest, tag_of
from luigi_sshjob.jobs.previous import PreviousAttempt
from luigi_sshjob.jobs.setup import Setup
from luigi_sshjob.jobs.slots import Slots
from luigi_sshjob.remote import quoting

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# read-only in some shell: an assignment would end the script that sets the environment
_SHELL_OWNED = frozenset(
    ["BASHOPTS", "BASHPID", "BASH_VERSINFO", "EUID", "GROUPS", "KSH_VERSION", "PPID", "SHELLOPTS", "UID"]
)
_RESERVED_PREFIX = "SSHJOB_"
_LONGEST_PARAMETER = 1000  # characters


@dataclasses.dataclass(frozen=True)
class Output:
    """A file or directory that the command creates, at a temporary path until it has succeeded."""

    variable: str
    path: str


@dataclasses.dataclass(frozen=True)
class ReturnedOutput:
    """A file or directory that the command creates in the job directory, to be fetched to a local path."""

    variable: str
    local_path: str

    @property
    def name(self) -> str:
        """Its name on the host, as tools look at the extension."""
        return os.path.basename(os.path.abspath(self.local_path))


@dataclasses.dataclass(frozen=True)
class JobSpec:
    """A job to submit. Times are seconds; a `time_limit` of 0 is no limit."""

    key: str
    command: str
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    trace_context: Mapping[str, str] = dataclasses.field(default_factory=dict, compare=False)
    """More variables, which are not in the digests: they may differ each time that the task is run."""
    setup: Setup = Setup()  # noqa: RUF009 - immutable
    working_directory: str = "~"
    """"" is the copy of the project."""
    outputs: Sequence[Output] = ()
    returned: Sequence[ReturnedOutput] = ()
    inputs: Sequence[Input] = dataclasses.field(default=(), compare=False)
    """Not in the digests: a job that runs is attached to, also if one of them has changed since."""
    project: str = dataclasses.field(default="", compare=False)
    """The archive of the project in the cache of the host, or ""; not in the digests, for the same reason."""
    slots: Slots = dataclasses.field(default=Slots(), compare=False)
    """Not in the digests, like the options of a scheduler."""
    publish: bool = False
    time_limit: float = 0
    kill_grace: float = 10
    limits: Limits = Limits()  # noqa: RUF009 - immutable
    gentle: Gentle = Gentle()  # noqa: RUF009 - immutable
    success_exit_codes: Sequence[int] = (0,)
    submitted_by: str = ""
    submitted_at: str = ""
    family: str = ""
    """Of the task, for people; and its parameters, none of which may be a secret."""
    parameters: Mapping[str, str] = dataclasses.field(default_factory=dict)
    launch: LaunchSpec = dataclasses.field(default_factory=LaunchSpec)
    previous: PreviousAttempt | None = dataclasses.field(default=None, compare=False)
    """What it is a retry of; not in the digests."""
    token: str = dataclasses.field(default_factory=lambda: secrets.token_hex(16), compare=False)
    """Part of the names of temporary outputs, so that nobody can guess them."""

    def __post_init__(self) -> None:
        _check_command(self.command)
        for name, value in self._variables.items():
            _check_variable(name, value)
        self.slots.check_environment(self.environment)
        if not (0 <= self.time_limit < math.inf and 0 <= self.kill_grace < math.inf):
            raise ConfigurationError(
                f"time_limit and kill_grace must be finite and not negative: {self.time_limit} and {self.kill_grace}",
                job=self.key,
                next_step="use seconds, 0 for no limit",
            )
        codes = tuple(self.success_exit_codes)
        if not codes or not all(isinstance(code, int) and 0 <= code <= 255 for code in codes):
            raise ConfigurationError(
                f"success_exit_codes must be integers from 0 to 255: {codes!r}",
                job=self.key,
                next_step="use integers from 0 to 255",
            )
        names = [each.variable for each in (*self.inputs, *self.outputs, *self.returned)]
        if len(set(names)) != len(names):
            raise ConfigurationError(
                f"two inputs or outputs would share a variable: {', '.join(sorted(names))}",
                job=self.key,
                next_step="use keys that differ in letters or digits",
            )
        self.spec_text()  # raises UnsafeValue for a path that cannot be quoted

    @property
    def digests(self) -> str:
        """Digests of the command, and of environment, setup, directory and outputs, to recognize a running attempt."""
        circumstances: tuple[object, ...] = (
            sorted(self.environment.items()),
            self.working_directory,
            [(output.variable, output.path) for output in self.outputs],
            # not in those of earlier versions
            *[(output.variable, output.name) for output in self.returned],
        )
        # a job without a setup keeps the digest of earlier versions
        if self.setup:
            circumstances += (dataclasses.astuple(self.setup),)
        return f"{digest(self.command)} {digest(repr(circumstances))}"

    def spec_text(self) -> str:
        """The file `spec`, which people read and the supervisor sources."""
        lines = [
            f"submitted_by={quoting.quote(self.submitted_by)}",
            f"submitted_at={quoting.quote(self.submitted_at)}",
            f"task_family={quoting.quote(self.family)}",
            f"task_parameters={quoting.quote(_parameters_text(self.parameters))}",
            f"working_directory={_directory_word(self.working_directory)}",
            # sleep(1) of POSIX and the arithmetic of shells have no fractions
            f"time_limit={math.ceil(self.time_limit) or ''}",
            f"kill_grace={math.ceil(self.kill_grace)}",
            f"success_exit_codes={quoting.quote(' '.join(map(str, self.success_exit_codes)))}",
            f"publish={'yes' if self.publish else 'no'}",
            f"requeue={'yes' if self.launch.requeue else 'no'}",
            # see remote/server/news.sh; the supervisor of an earlier version also needs the suffixes of the outputs
            f"tag={tag_of(self.key)}",
            f"token={self.token}",
            *self.setup.spec_lines(),
            *self.limits.spec_lines(),
            *["term_waits=yes"] * self.launch.term_waits,
            *self.slots.spec_lines(),
            *self.gentle.spec_lines(),
        ]
        for number, output in enumerate(self.outputs):
            path = quoting.below_home(output.path.rstrip("/") or "/")
            name = posixpath.basename(path)
            # keeps the extension, which tools look at; a file name has at most 255 bytes
            suffix = f"-{number}.{name}" if len(quoting.encode(name)) <= 200 else f"-{number}"
            lines.append(f"output {output.variable} {quoting.quote_path(path)} {quoting.quote(suffix)}")
        for number, returned in enumerate(self.returned):
            lines.append(f"returned_output {returned.variable} {number} {quoting.quote(returned.name)}")
        return "\n".join([*lines, *spec_lines(self.inputs, self.project)])

    def environment_text(self) -> str:
        """The file `environment`, which the supervisor evaluates and removes."""
        return "\n".join(f"export {name}={quoting.quote(value)}" for name, value in self._variables.items())

    @property
    def _variables(self) -> dict[str, str]:
        return {**self.trace_context, **self.environment}


def _directory_word(path: str) -> str:
    return quoting.quote_path(quoting.below_home(path)) if path else ""


def _parameters_text(parameters: Mapping[str, str]) -> str:
    """As JSON on one line, with long values cut: a parameter may be a whole table."""
    return json.dumps({name: _shortened(value) for name, value in parameters.items()})


def parse_parameters(text: str) -> dict[str, str]:
    """The parameters in a spec; empty if they are damaged, or an earlier version has written none."""
    with contextlib.suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict):
            return {name: str(value) for name, value in found.items()}
    return {}


def _shortened(value: str) -> str:
    return value if len(value) <= _LONGEST_PARAMETER else f"{value[:_LONGEST_PARAMETER]}…"


def _check_command(command: Any) -> None:
    if not isinstance(command, str) or not command.strip():
        raise ConfigurationError(
            f"command() must return a script as a str: {command!r}",
            next_step="return the text of a script",
        )
    first_line, _, _ = command.lstrip().partition("\n")
    if first_line.startswith("#!") and (not command.startswith("#!") or first_line.endswith("\r")):
        raise ConfigurationError(
            f"the #! line of the command is not its first line, or ends in a carriage return: {first_line!r}",
            next_step='begin the text with #! (textwrap.dedent, and a backslash after the opening """, help)',
        )
    if "\0" in command:
        raise ConfigurationError("the command contains a NUL byte", next_step="remove it: shells stop reading there")


def _check_variable(name: Any, value: Any) -> None:
    # the value may be a secret, so no message contains it
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"invalid name of an environment variable: {name!r}",
            next_step="use letters, digits and _; do not begin with a digit",
        )
    if name in _SHELL_OWNED or name.startswith(_RESERVED_PREFIX):
        raise ConfigurationError(
            f"this environment variable cannot be set for a job: {name}",
            next_step="use another name: some shells make this one read-only, or luigi_sshjob sets it",
        )
    if not isinstance(value, str):
        raise ConfigurationError(
            f"the value of an environment variable must be a str: {name} is {type(value).__name__}",
            next_step="convert the value to str",
        )
    if "\0" in value:
        raise ConfigurationError(
            f"the value of an environment variable contains a NUL byte: {name}", next_step="remove the NUL byte"
        )
