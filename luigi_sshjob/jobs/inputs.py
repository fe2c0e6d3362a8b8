"""The inputs and the project of a job: what it gets from the host and its cache, and the lines of its spec. No I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from luigi_sshjob.remote import quoting, scripts


@dataclasses.dataclass(frozen=True)
class HostInput:
    """A file or directory of the host, at its own path."""

    variable: str
    path: str


@dataclasses.dataclass(frozen=True)
class CachedInput:
    """An entry in the cache of the host, which the job gets under a name of its own."""

    variable: str
    entry: str
    name: str


Input = HostInput | CachedInput


def spec_lines(inputs: Sequence[Input], project: str) -> list[str]:
    """The lines of the spec, see remote/supervisor/inputs.sh; `project` is an entry of the cache, or ""."""
    lines, number = [], 0
    for each in inputs:
        if isinstance(each, HostInput):
            lines.append(f"input {each.variable} {quoting.quote_path(quoting.below_home(each.path))}")
        else:
            own = f"{each.variable} {number} {quoting.quote(each.name)}"
            lines.append(f"own_tree {own} {each.entry}" if each.entry.endswith(".d") else f"own_input {own}")
            number += 1
    return [*lines, f"project_input={number}"] if project else lines


def entry_words(inputs: Sequence[Input], project: str) -> list[str]:
    """Entry and name of each cached input, and of the archive of the project, as `job_submit` takes them."""
    words = [word for each in inputs if isinstance(each, CachedInput) for word in (each.entry, each.name)]
    return [*words, project, scripts.layout()["SJ_PROJECT"]] if project else words
