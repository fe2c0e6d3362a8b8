"""The host of a task, or of one with a pool of hosts the one to which it is bound in this process."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import threading
import time
from collections.abc import Iterator
from typing import Any

from luigi_sshjob.destination import Destination
from luigi_sshjob.error_context import error_context
from luigi_sshjob.errors import ConfigurationError, ConnectionFailed, HostUnreachable, LoginNeeded, SSHJobError
from luigi_sshjob.targets.context import RemoteContext, context_to

_BRIEFLY = 5.0  # seconds
_NEXT_STEP = 'use different names of hosts, such as host = ["gpu01", "gpu02"]'
_REMOVE_HOST = "if this host is gone for good, remove it from `host` of the task; the task then runs on another host"


@dataclasses.dataclass(frozen=True)
class Binding:
    """The host of a pool to which a task is bound, because its job or its outputs are there.

    `known` is set while it runs: the claim is for the attempt after that number. Otherwise another process may run it
    on another host, so the binding may expire after a few seconds.
    """

    host: str
    known: int | None = None
    until: float = math.inf
    """By `time.monotonic()`."""


class _Override(threading.local):
    task: object = None
    host = ""


_override = _Override()


def pool_of(task: Any) -> tuple[str, ...]:
    """The hosts of a task that has several; empty for one host. Raises `ConfigurationError`."""
    value = task.host
    if not isinstance(value, (list, tuple)) or not value:
        return ()
    if not all(isinstance(host, str) and host for host in value):
        raise ConfigurationError(
            f"an entry of `host` is not a host name: {list(value)!r}", job=task.task_id, next_step=_NEXT_STEP
        )
    with error_context(job=task.task_id):
        hosts = _checked(tuple(value))
    return hosts if len(hosts) > 1 else ()


@functools.lru_cache(maxsize=1000)
def _checked(hosts: tuple[str, ...]) -> tuple[str, ...]:
    known: dict[Destination, str] = {}
    for host in hosts:
        other = known.setdefault(Destination.parse(host, {}), host)
        if other is not host or hosts.count(host) > 1:
            raise ConfigurationError(f"a host is named twice: {other} and {host}", next_step=_NEXT_STEP)
    return hosts


def first_host(task: Any) -> Any:
    """The host of a task that has one; of a list the first one."""
    return task.host[0] if isinstance(task.host, (list, tuple)) and task.host else task.host


def label(task: Any) -> str:
    """The host for error messages; several ones if none of them was chosen yet."""
    host = bound_host(task)
    value = host or task.host
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _binding_of(task: Any) -> Binding | None:
    """To which host of its pool a task is bound in this process."""
    return getattr(task, "_bound", None)


def bound_host(task: Any) -> str | None:
    """The host of that; also the one of `on_host`."""
    if _override.task is task:
        return _override.host
    binding = _binding_of(task)
    return binding.host if binding and time.monotonic() < binding.until else None


def begin(task: Any, host: str, known: int) -> None:
    """Binds a task to a host for a run."""
    task._bound = Binding(host, known)  # noqa: SLF001


@contextlib.contextmanager
def until_end(task: Any) -> Iterator[None]:
    """The end of the block is the end of the run; the task is still where its job is."""
    try:
        yield
    finally:
        if binding := _binding_of(task):
            task._bound = Binding(binding.host)  # noqa: SLF001


def locate(task: Any, host: str | None, *, briefly: bool = False) -> None:
    """Binds a task to the host where it was found, or to none, unless it runs."""
    if claim_after(task) is None:
        until = time.monotonic() + _BRIEFLY if briefly else math.inf
        task._bound = Binding(host, until=until) if host else None  # noqa: SLF001


@contextlib.contextmanager
def on_host(task: Any, host: str) -> Iterator[None]:
    """While the block runs, the task is bound to the host, in this thread only."""
    before = _override.task, _override.host
    _override.task, _override.host = task, host
    try:
        yield
    finally:
        _override.task, _override.host = before


def unreachable(host: str, job: str, error: SSHJobError) -> SSHJobError:
    """The error for a task whose last attempt was made on a host that cannot be asked."""
    passing = isinstance(error, HostUnreachable) and not isinstance(error, LoginNeeded)
    kind = type(error) if isinstance(error, ConnectionFailed) and not passing else HostUnreachable
    return kind(
        f"the task was placed on this host, which is unreachable: {error.problem}",
        host=host,
        job=job,
        next_step="; ".join(filter(None, [error.next_step, _REMOVE_HOST])),
    )


def claim_after(task: Any) -> int | None:
    """After which attempt the next one is claimed; None for a task with one host, where that does not matter."""
    binding = _binding_of(task)
    return binding.known if binding else None


def context_on(task: Any, host: Any) -> RemoteContext:
    """How a host of the task is reached. Raises `ConfigurationError`."""
    ssh_options = task.ssh_options
    if not host:
        raise ConfigurationError(
            f"the task has no host: {task.task_family}", job=task.task_id, next_step="set its attribute `host`"
        )
    try:
        options = {str(name): value for name, value in dict(ssh_options or {}).items()}
        if task.transport:
            options["transport"] = task.transport
        with error_context(job=task.task_id):
            return context_to(host, options)
    except (TypeError, ValueError) as error:
        if isinstance(error, SSHJobError):
            raise
        raise ConfigurationError(
            f"ssh_options must be a dict, not {type(ssh_options).__name__}",
            host=str(host),
            job=task.task_id,
            next_step="use the keywords of luigi.contrib.ssh.RemoteContext",
        ) from None
