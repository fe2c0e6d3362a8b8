"""Submissions of many clients in few requests, and how long the host needs for a response."""

from __future__ import annotations

import time
from collections import deque

import pytest

from luigi_sshjob.errors import ConnectionLost, InvalidResponse
from luigi_sshjob.ssh.leader.pipeline import Request
from luigi_sshjob.ssh.leader.service_time import ServiceTime
from luigi_sshjob.ssh.leader.submissions import VERB, Submissions


class Host:
    """Keeps requests until they fail, as `Pipeline` does."""

    def __init__(self) -> None:
        self.requests: deque[Request] = deque()
        self.submissions = Submissions(self, "box")
        self.errors: list[tuple[int, type]] = []

    def send(self, request: Request) -> None:
        self.requests.append(request)

    def submit(self, number: int, size: int = 0) -> None:
        text = f"{VERB}task_{number}{'x' * size}"
        self.submissions.send(Request(text, on_error=lambda error: self.errors.append((number, type(error)))))


def test_an_invalid_response_is_an_error_of_its_own_submissions_only():
    """The others get the error of the connection that is closed for it, after which they are repeated."""
    host = Host()
    for number in range(4):
        host.submit(number)
    (first,) = host.requests
    host.requests.clear()
    first.on_error(InvalidResponse("garbage"))
    assert host.errors == [(0, InvalidResponse)]
    (others,) = host.requests
    others.on_error(ConnectionLost("lost"))
    assert host.errors[1:] == [(number, ConnectionLost) for number in (1, 2, 3)]


@pytest.mark.parametrize(("size", "together"), [(0, 50), (100_000, 2), (1_000_000, 1)])
def test_a_request_has_few_submissions_if_they_are_large(size, together):
    """The host responds when all are claimed, and a response has a longest time."""
    host = Host()
    for number in range(60):
        host.submit(number, size)
    first = host.requests.popleft()
    first.on_error(InvalidResponse("garbage"))
    assert host.requests.popleft().text.count("task_") == together


def respond(service: ServiceTime, monkeypatch, now: float, network: float, busy: float) -> float:
    """Note a response at that time; returns the time at which it arrived."""
    arrived = now + network + busy
    monkeypatch.setattr(time, "monotonic", lambda: arrived)
    service.record(now)
    return arrived


def test_the_time_of_the_host_is_told_from_that_of_the_network(monkeypatch):
    """Also if all responses are slow for long, and if the network becomes slower."""
    service, now = ServiceTime(), 1000.0
    now = respond(service, monkeypatch, now, 0.01, 0.0)
    for _ in range(300):
        now = respond(service, monkeypatch, now, 0.01, 0.5)
    assert service.seconds == pytest.approx(0.5, abs=0.05)
    now = respond(service, monkeypatch, now, 0.01, 0.0)
    for _ in range(2000):
        now = respond(service, monkeypatch, now, 0.2, 0.0)
    assert service.seconds < 0.01
