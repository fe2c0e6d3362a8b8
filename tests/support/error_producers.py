"""What the tests of error messages share: the environment of a producer, and the checks of its error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from luigi_sshjob import RemoteJobTask
from luigi_sshjob.errors import SSHJobError

from support import error_catalogue
from support.hosts import Host
from support.settings import configure


@dataclass
class Environment:
    """Fixtures that a producer may use."""

    host: Host
    monkeypatch: pytest.MonkeyPatch
    tmp_path: Path
    folder: str = ""


Producer = Callable[[Environment], object]

# These errors occur before the host is known.
WITHOUT_HOST = (
    "invalid value for",
    "setting given twice",
    "setting not allowed",
    "unknown configuration",
    "cannot expand a reference",
    "invalid host in the name",
    "no host was used",
    "remote_jobs",
    "invalid host name",
    "the task has no host",
)


def odd_task(**attributes: Any) -> RemoteJobTask:
    """A task with these attributes, most of which are invalid."""
    return type("Odd", (RemoteJobTask,), {"host": "box", "command": lambda self: "true", **attributes})()


def assert_complete(error: SSHJobError, sentence: str) -> None:
    """The text has its sentence, host, job, action and next step, and the class is the documented one."""
    assert error.problem.startswith(sentence), error.problem
    kinds = {row.kind for row in error_catalogue.rows() if row.sentence == sentence}
    assert type(error).__name__ in kinds
    assert error.next_step
    assert error.host or sentence.startswith(WITHOUT_HOST)
    where = str(error).partition(sentence)[0]
    assert (error.host or "") in where
    assert (error.job or "") in where
    assert error.doing in where
    assert str(error).endswith(f"\nNext: {error.next_step}")


def assert_local_error(sentence: str, produce: Producer, env: Environment) -> SSHJobError:
    """The producer raises its complete error. Returns the error."""
    configure(connect_attempts=1)
    with pytest.raises(SSHJobError) as caught:
        produce(env)
    assert_complete(caught.value, sentence)
    return caught.value
