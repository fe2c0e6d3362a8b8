"""What a launcher for a scheduler is: commands for the host, and parsers of what they print. No I/O.

The host runs the commands and records what they print; everything is judged here and in `jobs/scheduled/`.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
import math
import re
from collections.abc import Sequence

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.launchers.base import Launcher, LaunchOptions, LaunchSpec
from luigi_sshjob.remote import quoting

_SHOWN = 500  # characters of what a command has printed


class Phase(enum.Enum):
    """What a scheduler does with a job."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDING = "ending"
    OVER = "over"


@dataclasses.dataclass(frozen=True)
class SchedulerRow:
    """What a scheduler reports about one of its jobs, or about one element of an array."""

    id: str
    phase: Phase
    state: str
    """The scheduler's own word, such as PENDING."""
    reason: str = ""
    nodes: str = ""
    start: str = ""
    """When it is expected to start."""
    name: str = ""
    directory: str = ""
    """Where it was submitted from; empty if the scheduler does not report that."""
    outcome: str = "lost"
    """Of a job that is over without an exit record: lost, cancelled, timed_out or killed."""
    finished: bool = False
    """Whether the script has ended on its own, so that there is an exit record."""
    hopeless: bool = False
    """Whether it waits for something that will not happen unless a person acts."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a command has printed. `status` is None if it did not end within its time limit."""

    status: int | None
    stdout: str = ""
    stderr: str = ""

    @property
    def message(self) -> str:
        """What people should see of it, on one line."""
        lines = f"{self.stderr}\n{self.stdout}".splitlines()
        text = "; ".join(line.strip() for line in lines if line.strip())[:_SHOWN]
        if self.status is None:
            return f"no response in time{': ' if text else ''}{text}"
        return text or f"exit status {self.status} without a message"


class Unreadable(Exception):
    """An answer that says nothing about jobs; its text is for people."""


class Refusal(enum.Enum):
    """What follows from a submission without an id."""

    FINAL = "final"  # it would be refused again
    TRANSIENT = "transient"  # to be repeated


@dataclasses.dataclass(frozen=True)
class Submitted:
    """How a submission can be found in a listing: with the name KEY/ATTEMPT, and a suffix if it is an array.

    `tag` is a checksum of `directory`, the directory of its first job; `index` is the job's own in an array.
    """

    name: str
    directory: str
    tag: str
    index: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scheduler(Launcher):
    """A launcher whose jobs a scheduler starts, on machines that share the job directory.

    All commands are lines for a POSIX shell that has a time limit, LC_ALL=C (but `submit` that of the account, which a
    scheduler may pass on to the job), and no variable that matches `dropped_variables`. Each begins with the word
    `command`, so that no alias or function of the account is run.
    """

    launches: float = math.inf
    on_host: bool = False
    title: str
    """Its name for people."""
    directive: str = ""
    """What begins a line with options in a script for its own submit command, such as #SBATCH."""
    submit: str
    """Submits the script `"$@"` for `$count` jobs, and prints an id. The task's options replace `{options}`.

    It has the variables `name` (KEY/ATTEMPT, with a suffix for an array), `key`, `attempt`, `suffix`, `directory` and
    `tag` (see `Submitted`), `base` (the base directory) and `last` (the last index of an array, or empty).
    """
    listing: str
    """Prints all jobs of the account."""
    query: str
    """Prints the jobs with the ids in `$ids` (separated by blanks), and which of them do not exist."""
    history: str = ""
    """Prints the jobs with the ids in `$ids` from the accounting, which may be missing, slow or out of date."""
    signal: str
    """Sends SIGTERM to the supervisors of the jobs `$ids` only, not to commands; empty if that is not possible."""
    cancel: str
    """Ends the jobs `$ids`, whether they wait or run."""
    dropped_variables: tuple[str, ...] = ()
    """Patterns of variables of the account that would change what the commands do, such as SQUEUE_*."""
    job_id: str
    """On the node: an expansion of the shell to the id of the job, as in `SchedulerRow.id`."""
    index: str
    """On the node: an expansion to the index in the array, counted from 0; to 0 without an array."""
    restarts: str = "0"
    """On the node: an expansion to the number of times that the scheduler has started the job again, or to 1."""
    signals_all: bool = False
    """Whether its signals reach all processes of a job: SIGUSR2 before KILL, and SIGUSR1 for other purposes.

    Otherwise they reach the supervisor only, and SIGUSR1 means that the scheduler's time limit is about to expire.
    """

    def check_command(self, command: str) -> None:
        """Refuses options in comments, because not the command but the supervisor is submitted."""
        lines = itertools.takewhile(lambda line: not line.strip() or line.startswith("#"), command.splitlines())
        found = next((line for line in lines if self.directive and re.match(rf"{self.directive}\s", line)), None)
        if found:
            raise ConfigurationError(
                f"options in a comment of the command are not read: {found}",
                next_step=f"move them to the task's {self.options_attribute}, and remove the comment",
            )

    def spec(self, options: LaunchOptions, words: Sequence[str], requeue: bool) -> LaunchSpec:
        """The specification of a launch with these words as options. Raises `ConfigurationError`."""
        if not (isinstance(options.batch, int) and options.batch >= 1):
            raise ConfigurationError(
                f"batch must be a positive integer: {options.batch!r}",
                next_step="give how many jobs may become one array, 1 for no array",
            )
        fields = {
            "batch": str(options.batch),
            "submit": quoting.one_line(self.submit.replace("{options}", " ".join(map(quoting.quote, words)))),
            "job_id": self.job_id,
            "index": self.index,
            "restarts": self.restarts,
            "signals": "all" if self.signals_all else "one",
            "drop": " ".join(self.dropped_variables),
        }
        return LaunchSpec(tuple(f"{name}: {value}" for name, value in fields.items()), requeue)

    def submitted_id(self, answer: Answer) -> str | None:
        """The id of the job or array that was submitted, whatever the exit status; None if it was refused."""
        raise NotImplementedError

    def refusal(self, answer: Answer) -> Refusal:
        """What follows from an answer without an id. Only well-known words are final."""
        raise NotImplementedError

    def element(self, array: str, index: int) -> str:
        """The id of an array's element."""
        raise NotImplementedError

    def is_from(self, row: SchedulerRow, submitted: Submitted) -> bool:
        """Whether the job, or the element of an array, was made by the submission."""
        raise NotImplementedError

    def parse_listing(self, answer: Answer) -> list[SchedulerRow]:
        """Raises `Unreadable` unless it is certainly the whole listing."""
        raise NotImplementedError

    def parse_query(self, answer: Answer, ids: Sequence[str]) -> dict[str, SchedulerRow | None]:
        """What is known about each id; None means that the scheduler denies knowing it. Others are not known.

        Raises `Unreadable`.
        """
        raise NotImplementedError

    def parse_history(self, answer: Answer) -> list[SchedulerRow]:
        """Raises `Unreadable`."""
        raise NotImplementedError
