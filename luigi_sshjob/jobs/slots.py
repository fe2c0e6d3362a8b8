"""What a job needs of a host that several jobs share: devices, processors, or anything else that can be counted."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.launchers.base import Launcher
from luigi_sshjob.remote import quoting

_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_SUPPLY = re.compile(rf"({_NAME.pattern}):([0-9]{{1,5}})")
_LONGEST = 8000  # bytes: the host reads at most 8 KiB of a file that names them
_VARIABLES_OF_GPUS = ("CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


@dataclasses.dataclass(frozen=True)
class Slots:
    """How many slots a job needs, by name; what the configuration says that there are; and the directory on the host.

    An empty `directory` is one below the base directory. See remote/common/slots.sh.
    """

    needed: tuple[tuple[str, int], ...] = ()
    supply: str = ""
    directory: str = ""

    def __bool__(self) -> bool:
        """Whether the job needs any."""
        return bool(self.needed)

    @classmethod
    def checked(cls, needed: Any, supply: str, directory: str, launcher: Launcher) -> Slots:
        """Raises `ConfigurationError`."""
        if not needed and (needed is None or isinstance(needed, Mapping)):
            return cls()
        if launcher.options_attribute:
            raise ConfigurationError(
                f"slots are for hosts without a scheduler: {launcher.name} assigns devices and processors itself",
                next_step=f"request them with {launcher.options_attribute}, and remove slots",
            )
        if not isinstance(needed, Mapping) or not all(_is_need(name, count) for name, count in needed.items()):
            raise ConfigurationError(
                f"slots must be a dict of names and positive numbers: {needed!r}",
                next_step='use lower-case names, such as {"gpu": 1} or {"cpu": 4}',
            )
        # each is a word such as gpu:99999
        if sum(count * (len(name) + 7) for name, count in needed.items()) > _LONGEST:
            raise ConfigurationError(f"too many slots for one job: {needed!r}", next_step="count in larger units")
        return cls(tuple(sorted(needed.items())), checked_supply(supply), directory)

    @classmethod
    def parse(cls, text: str) -> Slots:
        """Those in a spec."""
        return cls(tuple(parse_counts(text).items()))

    def check_environment(self, environment: Mapping[str, str]) -> None:
        """Raises `ConfigurationError` if the task chooses its GPUs itself."""
        chosen = [name for name in _VARIABLES_OF_GPUS if name in environment]
        if chosen and dict(self.needed).get("gpu"):
            raise ConfigurationError(
                f"the environment sets {chosen[0]}, which the slots for gpu set",
                next_step="remove the variable from environment, or gpu from slots",
            )

    def spec_lines(self) -> list[str]:
        """The lines of the file `spec`; none without slots, as in a spec of an earlier version."""
        if not self:
            return []
        return [
            f"slots={quoting.quote(str(self))}",
            f"slots_supply={quoting.quote(self.supply)}",
            f"slots_dir={directory_word(self.directory)}",
        ]

    def __str__(self) -> str:
        return " ".join(f"{name}:{count}" for name, count in self.needed)


def directory_word(directory: str) -> quoting.Word:
    """The setting slots_dir as one word; "" for the default."""
    return quoting.directory_word(directory) if directory else quoting.quote("")


def checked_supply(text: str) -> str:
    """The setting `slots`, with single blanks. Raises `ConfigurationError`."""
    words = re.split(r"[\s,]+", text.strip(" \t\n,")) if text.strip(" \t\n,") else []
    names = [match[1] for match in map(_SUPPLY.fullmatch, words) if match]
    if len(names) < len(words) or len(set(names)) < len(names):
        raise ConfigurationError(
            f"invalid value for setting slots: {text!r}", next_step="give names with numbers, such as gpu:4 cpu:32"
        )
    return " ".join(words)


def parse_counts(text: str) -> dict[str, int]:
    """Words such as gpu:4; others are left out."""
    found = (_SUPPLY.fullmatch(word) for word in text.split())
    return {match[1]: int(match[2]) for match in found if match}


def parse_numbers(text: str) -> dict[str, list[int]]:
    """Words such as gpu:0 gpu:2, by name; others are left out."""
    numbers: dict[str, list[int]] = {}
    for match in map(_SUPPLY.fullmatch, text.split()):
        if match:
            numbers.setdefault(match[1], []).append(int(match[2]))
    return numbers


def _is_need(name: Any, count: Any) -> bool:
    known = isinstance(name, str) and _NAME.fullmatch(name)
    return bool(known) and isinstance(count, int) and not isinstance(count, bool) and count > 0
