"""Who has the slots of a host, and who waits for them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from luigi_sshjob.jobs.numbers import number
from luigi_sshjob.jobs.slots import checked_supply, directory_word, parse_counts, parse_numbers
from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.shell.bounds import reading_response
from luigi_sshjob.ssh.shell.remote_shell import ResponsePart

_FILE = re.compile(r"1\d{9}\.(ticket|grant)")
_TIME = re.compile(r"(\d+) (\S+) (\S+)")


@dataclasses.dataclass(frozen=True)
class Resource:
    """One resource of a host; `supply` is None if it is used and unknown. `source` is how the supply is known."""

    name: str
    supply: int | None
    source: str
    used: int

    @property
    def free(self) -> int | None:
        """How many no job has. The supply may have become smaller than what is used."""
        return None if self.supply is None else max(0, self.supply - self.used)


@dataclasses.dataclass(frozen=True)
class SlotUser:
    """A job that has slots, with their numbers, or that waits for them.

    `job` is what another account may have written. `account` and `since` (seconds) are None on a host without stat(1).
    """

    job: str
    numbers: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    needed: dict[str, int] = dataclasses.field(default_factory=dict)
    account: str | None = None
    since: int | None = None


@dataclasses.dataclass(frozen=True)
class SlotTable:
    """The slots of a host; `queue` is in the order in which the jobs will have theirs."""

    directory: str
    resources: list[Resource]
    holders: list[SlotUser]
    queue: list[SlotUser]


def read_slot_table(connection: Connection, base_dir: str) -> SlotTable:
    """Asks the host. Raises `RemoteCommandFailed` if it has no flock(1)."""
    settings = connection.settings
    words = (quoting.directory_word(base_dir), directory_word(settings.slots_dir), checked_supply(settings.slots))
    response = connection.request("slots_show", *words)
    with reading_response("slots_show", connection.host):
        return parse_slot_table(response.parts)


def parse_slot_table(parts: Iterable[ResponsePart]) -> SlotTable:
    """The response to `slots_show`. Files without a meaning are left out."""
    directory, times, now = "", "", None
    supply: dict[str, tuple[int, str]] = {}
    files: dict[str, str] = {}
    for part in parts:
        text = quoting.decode(part.content)
        if part.kind == "directory":
            directory = text.removesuffix("\n")
        elif part.kind == "supply":
            counts, _, source = part.value.partition(" ")
            supply.update({name: (count, source) for name, count in parse_counts(counts).items()})
        elif part.kind == "slots" and _FILE.fullmatch(part.value):
            files[part.value] = text
        elif part.kind == "times":
            times, now = text, number(part.value)
    known = {match[3]: (int(match[1]), match[2]) for match in map(_TIME.fullmatch, times.splitlines()) if match}
    users = {name: _user(files[name], known.get(name), now, name) for name in sorted(files)}
    holders = [user for name, user in users.items() if name.endswith(".grant")]
    used: dict[str, int] = {}
    for holder in holders:
        for name, numbers in holder.numbers.items():
            used[name] = used.get(name, 0) + len(numbers)
    unknown = [(name, None, "") for name in sorted(set(used) - set(supply))]
    known_supply = [(name, count, source) for name, (count, source) in supply.items()]
    resources = [Resource(name, count, source, used.get(name, 0)) for name, count, source in known_supply + unknown]
    # a job that has just got its slots may still have its ticket
    granted = {name.partition(".")[0] for name in users if name.endswith(".grant")}
    queue = [user for name, user in users.items() if name.partition(".")[0] not in granted]
    return SlotTable(directory, resources, holders, queue)


def _user(text: str, known: tuple[int, str] | None, now: int | None, file: str) -> SlotUser:
    first, _, rest = text.partition("\n")
    job = re.search(r"^job: (.*)$", rest, re.MULTILINE)
    return SlotUser(
        job=job[1] if job else "",
        numbers=parse_numbers(first) if file.endswith(".grant") else {},
        needed=parse_counts(first) if file.endswith(".ticket") else {},
        account=known[1] if known else None,
        since=max(0, now - known[0]) if known and now is not None else None,
    )
