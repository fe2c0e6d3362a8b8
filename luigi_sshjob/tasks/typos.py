"""Warns about attributes of task classes that nothing reads, because their names are misspelt or belong elsewhere."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import logging

import luigi

from luigi_sshjob import config
from luigi_sshjob.destination import Destination
from luigi_sshjob.tasks.attributes import DefaultAttribute, TaskAttributes

logger = logging.getLogger("luigi-interface")

_SIMILAR = 0.85  # of difflib.SequenceMatcher.ratio
_OPTIONS = {field.name for field in dataclasses.fields(Destination)} - {"host", "transport"}
_METHODS = ("command", "inputs", "output", "on_scheduler_message")
_KNOWN = [name for name, value in vars(TaskAttributes).items() if isinstance(value, DefaultAttribute)] + [*_METHODS]


@functools.cache
def warn_of_typos(kind: type, base: type) -> None:
    """Log a warning, once, for each attribute of a class that may be a mistake; `base` is `RemoteJobTask`."""
    owners = [ancestor for ancestor in kind.__mro__ if issubclass(ancestor, base) and ancestor is not base]
    declared = {name: (owner, value) for owner in reversed(owners) for name, value in vars(owner).items()}
    options, known = "ssh_options" in declared, set(dir(base))
    for name, (owner, value) in declared.items():
        if name in known or name.startswith("_"):
            continue
        (similar,) = difflib.get_close_matches(name, _KNOWN, n=1, cutoff=_SIMILAR) or [""]
        # a parameter of such a name may be for anything
        parameter = isinstance(value, luigi.Parameter)
        if name in _OPTIONS and not parameter and not options:
            _warn(owner, name, f'an option of the connection is written as ssh_options = {{"{name}": …}}')
        elif name in config.SETTINGS and not parameter:
            _warn(owner, name, "it is a setting, so write it in [sshjob] or [sshjob.HOST] of Luigi's configuration")
        elif similar and similar not in declared:
            _warn(owner, name, f"did you mean {similar}?")


def _warn(owner: type, name: str, problem: str) -> None:
    _warn_once(owner.__module__, f"{owner.__qualname__.rpartition('.')[2]}.{name}", problem)


@functools.cache
def _warn_once(module: str, attribute: str, problem: str) -> None:  # noqa: ARG001 - distinguishes classes
    logger.warning("%s is not read by luigi_sshjob: %s", attribute, problem)


@functools.cache
def warn_of_unused_section(host: Destination) -> None:
    """Log a warning, once, if the host has no section in the configuration but an unused one has a similar name."""
    section = config.misspelt_section(host)
    if section:
        text = "%s has no section in Luigi's configuration; no host uses [%s]: did you mean [sshjob.%s]?"
        logger.warning(text, host, section, host)


def warn_of_missing_super(task: luigi.Task) -> None:
    """Log a warning that a task has ended without a job, because its `run` does not call the one of its base class."""
    logger.warning("%s: no job was submitted, because %s.run does not call super().run()", task, type(task).__name__)
