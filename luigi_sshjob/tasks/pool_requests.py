"""Requests to all hosts of a pool, side by side, without waiting long for one that does not respond."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Generic, TypeVar

from luigi_sshjob.errors import (
    ConnectionFailed,
    ConnectionLost,
    HostUnreachable,
    LocalResourceError,
    LoginNeeded,
    SSHJobError,
)
from luigi_sshjob.jobs.pool_host import HostView, look
from luigi_sshjob.retry import Backoff
from luigi_sshjob.ssh.local.starting import start_thread
from luigi_sshjob.targets.context import RemoteContext

logger = logging.getLogger("luigi-interface")
T = TypeVar("T")

RESPONSE_TIMEOUT = 5.0  # seconds for which the other hosts wait for one
PLACED_TIMEOUT = 20.0  # seconds for which a task waits for the host of its placement, which may need a slow login
_GIVEN_UP = 60.0  # seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0  # seconds for which a host that has failed is left out


@dataclasses.dataclass(frozen=True)
class Member:
    """A host of a pool, as the pool names it."""

    name: str
    context: RemoteContext
    base_dir: str


class _Host:
    """What this process knows about the last requests to a host."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._waiting: dict[object, float] = {}
        self._error: SSHJobError | None = None
        self._next_try = self._given_up_until = 0.0
        self._backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)

    def absence(self) -> SSHJobError | None:
        """Why no request should be sent now: the last one has failed a moment ago, or has no response yet."""
        with self._lock:
            now = time.monotonic()
            if self._error and now < self._next_try:
                return self._error.copy_for()
            waited = now - min(self._waiting.values(), default=now)
        return _late(self._name, waited) if waited > RESPONSE_TIMEOUT else None

    def begin(self, token: object) -> None:
        """Records a request."""
        with self._lock:
            self._waiting[token] = time.monotonic()

    def end(self, token: object, error: SSHJobError | None) -> None:
        """Records its end."""
        with self._lock:
            del self._waiting[token]
            before, self._error = self._error, error
            if error is None:
                self._backoff, self._given_up_until = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE), 0.0
            else:
                self._next_try = time.monotonic() + self._backoff.next()
        if error and not isinstance(error, HostUnreachable) and (before is None or before.problem != error.problem):
            # this does not pass
            logger.warning("%s is left out of its pool: %s", self._name, error)

    @property
    def given_up(self) -> bool:
        """Whether it was waited for a moment ago, without success."""
        return time.monotonic() < self._given_up_until

    def give_up(self) -> None:
        """For some time nobody waits for it, so that many tasks that need it do not take longer than one."""
        self._given_up_until = time.monotonic() + _GIVEN_UP

    def forget_requests(self) -> None:
        """Their threads are those of a parent; a host for which it has waited long is left out for a moment."""
        self._lock = threading.Lock()
        waited = time.monotonic() - min(self._waiting.values(), default=math.inf)
        self._waiting.clear()
        if waited > RESPONSE_TIMEOUT:
            self._error, self._next_try = _late(self._name, waited), time.monotonic() + _LONGEST_PAUSE


_hosts: dict[tuple[RemoteContext, str], _Host] = {}


def _host(member: Member) -> _Host:
    return _hosts.setdefault((member.context, member.base_dir), _Host(member.name))


def _after_fork() -> None:
    for host in _hosts.values():
        host.forget_requests()


os.register_at_fork(after_in_child=_after_fork)


def look_at(
    members: Sequence[Member],
    keys: Sequence[str],
    *,
    capacity: bool = False,
    slots: bool = False,
    awaited: Callable[[Mapping[str, HostView]], Collection[str]] = lambda _: (),
) -> tuple[dict[str, HostView], dict[str, SSHJobError]]:
    """What the hosts know about these tasks, and the errors of those that are left out, by name.

    Hosts that have just failed are left out without a request. `awaited` returns those that are waited for longer. With
    `capacity` also how busy they are, see `look`.
    """

    def request(member: Member) -> HostView:
        return look(member.context.connection, member.base_dir, keys, capacity=capacity, slots=slots)

    absent = {member.name: error for member in members if (error := _host(member).absence())}
    found = ParallelRequests([member for member in members if member.name not in absent], request)
    found.wait_for_one()
    names = awaited(found.so_far()[0])
    needed = {member.name: member for member in members if member.name in names and not _host(member).given_up}
    found.wait_for(needed)
    more = ParallelRequests([member for name, member in needed.items() if name in absent], request)
    more.wait_for(needed)
    results, errors = found.so_far()
    results |= more.so_far()[0]
    errors = {**absent, **errors, **more.so_far()[1]}
    for name in needed.keys() - results.keys():
        _host(needed[name]).give_up()
    return results, {name: errors[name] for name in (member.name for member in members) if name not in results}


class ParallelRequests(Generic[T]):
    """Requests to several hosts at once, each by a thread; waits `RESPONSE_TIMEOUT` seconds for the responses."""

    def __init__(self, members: Sequence[Member], request: Callable[[Member], T]):
        self._results: dict[str, T] = {}
        self._request = request
        self._names = [member.name for member in members]
        self._errors: dict[str, SSHJobError] = {}
        self._unexpected: BaseException | None = None
        self._changed = threading.Condition()
        self._began = time.monotonic()
        for member in members:
            try:
                start_thread(self._run, member, name=f"sshjob requests {member.name}")
            except LocalResourceError as error:
                self._errors[member.name] = error
        self._wait(lambda: time.monotonic() - self._began > RESPONSE_TIMEOUT)

    def wait_for(self, names: Collection[str]) -> None:
        """Waits longer for these hosts."""
        asked = set(names) & set(self._names)

        def enough() -> bool:
            late = time.monotonic() - self._began > PLACED_TIMEOUT
            return late or asked <= self._results.keys() | self._errors.keys()

        self._wait(enough)

    def wait_for_one(self) -> None:
        """Waits longer if no host has responded yet."""
        self._wait(lambda: bool(self._results))

    def so_far(self) -> tuple[dict[str, T], dict[str, SSHJobError]]:
        """The results, and the errors of the other hosts, by name. What arrives later changes neither."""
        passed = time.monotonic() - self._began
        with self._changed:
            others = [name for name in self._names if name not in self._results]
            return dict(self._results), {name: self._errors.get(name) or _late(name, passed) for name in others}

    def _wait(self, enough: Callable[[], bool]) -> None:
        with self._changed:
            while len(self._results) + len(self._errors) < len(self._names) and not enough():
                self._changed.wait(0.2)
                if self._unexpected:
                    raise self._unexpected

    def _run(self, member: Member) -> None:
        host, token = _host(member), object()
        host.begin(token)
        error: BaseException | None = None
        try:
            result = self._request(member)
        except BaseException as caught:  # noqa: BLE001 - the caller raises it
            error = caught
        # a refusal comes quickly, and concerns this request
        host.end(token, error if isinstance(error, ConnectionFailed) else None)
        with self._changed:
            if error is None:
                self._results[member.name] = result
            elif isinstance(error, SSHJobError):
                self._errors[member.name] = error
            else:
                self._unexpected = error
            self._changed.notify_all()


def none_responds(errors: Mapping[str, SSHJobError], job: str) -> SSHJobError:
    """The error if no host can be asked: that of the first host, unless waiting may help."""
    first = next(iter(errors.values()))
    if not any(isinstance(error, HostUnreachable) for error in errors.values()):
        return first.copy_for(job=job, doing="choosing a host")
    host, next_step = ",".join(errors), first.next_step or "check the network between here and the hosts"
    if login := next((error for error in errors.values() if isinstance(error, LoginNeeded)), None):
        return LoginNeeded(
            f"no host responds, and one needs a login: {problems(errors)}",
            host=host,
            job=job,
            next_step=login.next_step,
        )
    return HostUnreachable(
        f"no host of the pool can be used: {problems(errors)}", host=host, job=job, next_step=next_step
    )


def problems(errors: Mapping[str, SSHJobError]) -> str:
    """The hosts that were left out, and why."""
    return "; ".join(f"{name} ({error.problem})" for name, error in errors.items())


def _late(name: str, seconds: float) -> ConnectionLost:
    return ConnectionLost(
        f"no response within {seconds:.0f} s", host=name, next_step="check the host, and the network in between"
    )
