"""Chooses a host of its pool for each run of a task, so that it runs once, also if others run it at the same time.

One thread for each pool does that for all tasks that come at the same time, with one request to each host that
responds, and at most one more for the placements, see jobs/pool.py. If the host of a placement does not respond, the
task waits for that one, in another thread.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from luigi_sshjob.errors import ConnectionLost, HostUnreachable, SSHJobError
from luigi_sshjob.jobs.model import job_key
from luigi_sshjob.jobs.pool import LOOKED_AT, Placement, Plan, decide, latest_placement
from luigi_sshjob.jobs.pool_host import HostView
from luigi_sshjob.retry import Backoff
from luigi_sshjob.tasks import hosts, pool
from luigi_sshjob.tasks.choice_queue import ChoiceQueue, Request
from luigi_sshjob.tasks.load_balancer import LoadBalancer
from luigi_sshjob.tasks.options import JobOptions
from luigi_sshjob.tasks.placements import LocalRecords, agree, damage, hosts_awaited, local_records, traces_of
from luigi_sshjob.tasks.pool_requests import Member, look_at, none_responds, problems
from luigi_sshjob.text import printable_line

logger = logging.getLogger("luigi-interface")


def request_for(task: Any, superseded: Mapping[str, int], on_wait: Callable[[HostUnreachable], None]) -> Request | None:
    """Begins to choose a host for a task; None if it has only one. Raises `ConfigurationError`.

    Reads users' attributes, so it is for the main thread. `use` takes the result.
    """
    members = pool.members_of(task)
    if not members:
        return None
    slots = {}
    for member in members:
        with hosts.on_host(task, member.name):
            slots[member.name] = JobOptions.of(task).slots
    timeout = max(member.context.connection.settings.unreachable_timeout for member in members)
    request = Request(repr(task), job_key(task.task_id), slots, dict(superseded), timeout, on_wait)
    _chooser_of(members).add(request)
    return request


def use(task: Any, request: Request) -> None:
    """Binds the task to the host that was chosen. Raises the errors of the choice."""
    plan = request.done.result()
    hosts.begin(task, plan.host, plan.known)


class _Chooser:
    """The tasks that wait for a host of one pool, and the thread that chooses.

    Those that have to wait are passed to the `patient` one, which waits longer for the hosts of their placements, and
    tries again after a pause. It is a patient one if there is none.
    """

    def __init__(self, members: tuple[Member, ...], balancer: LoadBalancer, patient: _Chooser | None = None):
        self._members = members
        self._names = [member.name for member in members]
        self._balancer = balancer
        self._patient = patient
        self._queue = ChoiceQueue(f"sshjob chooses one of {' '.join(self._names)}", self._choose)
        self.add = self._queue.add
        self._backoff = Backoff()
        self._problems: set[str] = set()

    def _choose(self, batch: Sequence[Request]) -> None:
        """Chooses for these tasks, or has them wait."""
        slots = any(need for request in batch for need in request.slots.values())
        keys, records = [request.key for request in batch], local_records(self._members)

        def awaited(views: Mapping[str, HostView]) -> Collection[str]:
            return () if self._patient else hosts_awaited(keys, views, records)

        views, errors = look_at(self._members, keys, capacity=True, slots=slots, awaited=awaited)
        if not views:
            self._wait({request: none_responds(errors, request.key) for request in batch})
            return
        plans, waiting = self._plan(batch, views, errors, records)
        wanted = {request.key: plan.placement for request, plan in plans.items()}
        found = agree(self._members, wanted, views, records)
        for request, plan in plans.items():
            placement = found.placements[request.key]
            if request.key in found.refusals:
                request.done.set_exception(found.refusals[request.key].copy_for(job=request.key))
            elif placement == plan.placement:
                self._finish(request, plan, errors)
            elif placement and placement.host in views:
                self._finish(request, Plan(placement, placement.number, "another process has chosen it"), errors)
            else:
                waiting[request] = None
        self._wait(waiting)

    def _plan(
        self,
        batch: Sequence[Request],
        views: Mapping[str, HostView],
        errors: Mapping[str, SSHJobError],
        records: LocalRecords,
    ) -> tuple[dict[Request, Plan], dict[Request, SSHJobError | None]]:
        """Returns where the tasks belong, and the errors of those whose host does not respond."""
        plans: dict[Request, Plan] = {}
        waiting: dict[Request, SSHJobError | None] = {}
        for request in batch:
            traces = traces_of(request.key, views, records)
            self._warn_of_old_host(request, latest_placement(traces))
            choose = partial(self._balancer.choose, request.key, request.slots, views)
            plan = decide(self._names, traces, request.superseded, choose)
            if plan is None:
                request.done.set_exception(damage(traces, request.key))
            elif plan.host in views:
                plans[request] = plan
            else:
                waiting[request] = hosts.unreachable(plan.host, request.key, errors[plan.host])
        return plans, waiting

    def _warn_of_old_host(self, request: Request, placement: Placement | None) -> None:
        if placement and placement.host and placement.host not in self._names:
            text = "%s: its last attempt was made on %s, which is not one of its hosts any more, and is not waited for"
            logger.warning(text, request.name, printable_line(placement.host, 100))

    def _finish(self, request: Request, plan: Plan, errors: Mapping[str, SSHJobError]) -> None:
        text = f"; left out: {problems(errors)}" if errors else ""
        level = logging.DEBUG if plan.reason == LOOKED_AT else logging.INFO
        logger.log(level, "%s: chose %s: %s%s", request.name, plan.host, plan.reason, text)
        request.done.set_result(plan)

    def _wait(self, waiting: Mapping[Request, SSHJobError | None]) -> None:
        """Has them choose again, after a pause, if that may help and their time is not over."""
        if self._patient:
            _pass_on(waiting, self._patient)
            return
        for request, problem in waiting.items():
            error = problem or ConnectionLost(
                "a host has not confirmed the placement of the task",
                host=",".join(self._names),
                job=request.key,
                next_step="none; the request is repeated",
            )
            if not isinstance(error, HostUnreachable) or time.monotonic() - request.since > request.timeout:
                request.done.set_exception(error)
                continue
            request.waits = True
            request.on_wait(error)
            if error.problem not in self._problems:
                self._problems.add(error.problem)
                logger.warning("%s\nRetrying.", error)
            self._queue.add(request)
        if not self._queue:
            self._backoff, self._problems = Backoff(), set()
        elif self._queue.next_try < time.monotonic():
            self._queue.next_try = time.monotonic() + self._backoff.next()


def _pass_on(waiting: Mapping[Request, SSHJobError | None], patient: _Chooser) -> None:
    for request, problem in waiting.items():
        if isinstance(problem, HostUnreachable):
            request.on_wait(problem)
        patient.add(request)


_has_siblings = False
"""Whether this is a process of Luigi's worker, which has others that choose at the same time."""
_choosers: dict[tuple[Member, ...], _Chooser] = {}
_creating = threading.Lock()


def _chooser_of(members: tuple[Member, ...]) -> _Chooser:
    with _creating:
        if members not in _choosers:
            balancer = LoadBalancer(spread=_has_siblings)
            _choosers[members] = _Chooser(members, balancer, _Chooser(members, balancer))
        return _choosers[members]


def _forget() -> None:
    global _creating, _has_siblings
    _creating, _has_siblings = threading.Lock(), True
    _choosers.clear()


# the threads are those of the parent
os.register_at_fork(after_in_child=_forget)
