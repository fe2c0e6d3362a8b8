"""Requests of the threads of the leader's own process."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from luigi_sshjob import RemoteFileSystem
from luigi_sshjob.errors import RemoteCommandFailed
from luigi_sshjob.ssh.leader import pipeline
from luigi_sshjob.ssh.leader.link import LeaderGone
from luigi_sshjob.ssh.leader.own_requests import OwnRequests
from luigi_sshjob.ssh.shell.remote_shell import Response

from support import processes

THREADS = 40


def test_many_threads_need_no_descriptor_each(files):
    assert files.exists("/")
    assert files.exists("/")
    descriptors = len(os.listdir("/proc/self/fd"))
    asked = threading.Barrier(THREADS + 1)
    counted = threading.Barrier(THREADS + 1)

    def ask() -> bool:
        found = files.exists("/")
        asked.wait(60)
        counted.wait(60)
        return found

    with ThreadPoolExecutor(THREADS) as pool:
        answers = [pool.submit(ask) for _ in range(THREADS)]
        asked.wait(60)
        used = len(os.listdir("/proc/self/fd"))
        counted.wait(60)
        assert all(answer.result() for answer in answers)
    assert used <= descriptors


@pytest.fixture
def pending():
    """Requests of two threads, what these get, and the requests as the leader takes them."""
    own = OwnRequests(lambda: None)
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(own.response, f"echo_back {number}") for number in range(2)]
        requests = []
        processes.wait_until(lambda: requests.extend(own.take()) or len(requests) == 2, "two requests")
        yield own, futures, requests


def test_requests_that_fail_together_get_an_error_each(pending):
    _, futures, requests = pending
    error = RemoteCommandFailed("it failed", host="myhost", next_step="look")
    for request in requests:
        request.on_error(error)
    errors = [future.exception(60) for future in futures]
    # each caller adds to its own
    assert len({id(each) for each in (error, *errors)}) == 3
    assert {(type(each), str(each)) for each in errors} == {(RemoteCommandFailed, str(error))}


def test_what_a_signal_handler_raises_ends_the_wait():
    class Interruption(Exception):
        pass

    def interrupt(*_) -> None:
        raise Interruption

    own = OwnRequests(lambda: threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start())
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(Interruption):
            own.response("echo_back x")
    finally:
        signal.signal(signal.SIGUSR1, before)
    # its response is dropped
    own.take()[0].on_response(Response(0, b"", ()))


def test_a_request_that_was_not_sent_is_sent_by_the_next_leader(host, luigi_cfg, monkeypatch):
    """Although it may not be repeated: its leader ends during the login, for one thread as for the other."""
    login, logged_in = threading.Event(), pipeline.Pipeline._open

    def slow(self) -> None:
        login.wait(60)
        logged_in(self)

    monkeypatch.setattr(pipeline.Pipeline, "_open", slow)
    connection = RemoteFileSystem(host.alias).remote_context.connection
    client = connection._leader_client
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(connection.request, "echo_back", "here", idempotent=False)]
        processes.wait_until(lambda: client._leader is not None, "the leader")
        answers.append(pool.submit(connection.request, "echo_back", "here", idempotent=False))
        first = client._leader
        processes.wait_until(lambda: len(first._pipeline._unsent) == 2, "both requests")
        first._deposed = True
        first._loop.wake()
        processes.wait_until(lambda: client._leader is not first, "the next leader")
        login.set()
        assert [answer.result(60).text for answer in answers] == ["here", "here"]


def test_the_end_of_the_leader_ends_requests_and_says_which_were_not_sent(pending):
    own, futures, requests = pending
    requests[0].on_response(Response(0, b"", ()))
    with ThreadPoolExecutor(1) as pool:
        unsent = pool.submit(own.response, "echo_back 2")
        processes.wait_until(lambda: own._waiting, "the third request")
        own.close()
        assert [future.exception(60) for future in futures].count(None) == 1
        assert [getattr(future.exception(), "rejected", None) for future in futures if future.exception()] == [False]
        assert unsent.exception(60).rejected
    with pytest.raises(LeaderGone) as refused:
        own.response("echo_back 3")
    assert refused.value.rejected
