"""The leader: the one process of this account that holds the remote shell of a host, and sends everybody's requests.

It is a thread in the first process that needed the host. Other processes connect to its socket; it sends their
requests on as they arrive, without waiting for a response before the next request, and looks at all subscribed jobs
with one request. It keeps no state that matters: clients that lost it repeat their requests to the next leader.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import Any

from luigi_sshjob.ssh.leader.event_loop import EventLoop, Timer
from luigi_sshjob.ssh.leader.listener import HEARTBEAT, Listener, Peer
from luigi_sshjob.ssh.leader.own_requests import OwnRequests
from luigi_sshjob.ssh.leader.pipeline import LeaderClosing, Pipeline, Request
from luigi_sshjob.ssh.leader.submissions import VERB, Submissions
from luigi_sshjob.ssh.leader.subscription_table import SubscriptionTable
from luigi_sshjob.ssh.local.file_lock import FileLock
from luigi_sshjob.ssh.local.starting import start_thread
from luigi_sshjob.ssh.shell.remote_shell import Response, is_limited
from luigi_sshjob.ssh.transports.base import Transport

logger = logging.getLogger("luigi-interface")

_IDLE_CLOSE = 60.0  # seconds after which an unused shell gives its session back
_LEASE_CHECK = 0.25  # seconds between two checks whether the lock was lost, or another process waits for a session


class Leader:
    """Serves the socket at `address` while `lock` is held."""

    def __init__(self, transport: Transport, lock: FileLock, address: str):
        self._transport = transport
        self._lock = lock
        self._address = address
        self._loop = EventLoop()
        host = str(transport.destination)
        self._listener = Listener(address, host, self._loop.selector, self._on_message, self._on_disconnect)
        self.own_requests = OwnRequests(self._loop.wake)
        """Those of this process."""
        self._pipeline = Pipeline(transport, self._loop.selector, self._loop.wake, self._on_shell_lost)
        # a session of its own for questions about paths: one on a dead mount delays no news of jobs
        self._paths = Pipeline(transport, self._loop.selector, self._loop.wake, lambda _: None)
        self._one_session = False
        self._submissions = Submissions(self._pipeline, host)
        self._subscriptions = SubscriptionTable(self._pipeline, self._listener)
        self._heartbeat = Timer(HEARTBEAT)
        self._lease_check = Timer(_LEASE_CHECK)
        self._closing = self._deposed = False
        self.failure: OSError | None = None
        """The local error that ended this leader."""
        try:
            self._thread = start_thread(self._serve, name=f"sshjob {transport.destination}")
        except BaseException:
            self._release()
            raise

    @property
    def alive(self) -> bool:
        """Whether the leader's thread is running."""
        return self._thread.is_alive()

    @property
    def _pipelines(self) -> tuple[Pipeline, Pipeline]:
        return self._pipeline, self._paths

    @property
    def _busy(self) -> bool:
        return any(pipeline.busy for pipeline in self._pipelines)

    def close(self, timeout: float = 5.0) -> None:
        """Waits up to `timeout` seconds for pending responses; clients send their next requests to another leader."""
        self._closing = True
        self._loop.wake()
        self._thread.join(timeout)

    def detach_after_fork(self) -> None:
        """Lets a forked child drop the parent's sockets and shell without touching them."""
        self._listener.close()
        for pipeline in self._pipelines:
            pipeline.detach_after_fork()
        self._loop.close()

    def _serve(self) -> None:
        try:
            while not (self._deposed or (self._closing and not self._busy and self._listener.flushed)):
                self._loop.run_until(self._next_timer())
                self._run_due_timers()
        except OSError as error:
            # raised to a caller in this process, see LeaderClient; other processes find another leader
            self.failure = error
        except Exception:
            logger.exception(
                "%s: unexpected error; this process closes the shared connection", self._transport.destination
            )
        finally:
            self._release()

    def _release(self) -> None:
        try:
            # clients that connect again must not reach this leader
            self._listener.stop_accepting()
            self._reject_waiting()
        finally:
            self.own_requests.close()
        # checked again: files that are not this leader's any more belong to the next one
        if self._lock.is_current():
            # before the lock is released, for the same reason
            for path in (self._address, self._lock.path):
                with contextlib.suppress(OSError):
                    os.unlink(path)
        self._lock.release()
        self._listener.close()
        for pipeline in self._pipelines:
            pipeline.close()
        with contextlib.suppress(OSError):
            self._transport.session_limiter.sweep()
        self._loop.close()

    def _next_timer(self) -> float:
        timers = [self._lease_check.next, self._subscriptions.next_look()]
        if self._listener.has_pending:
            timers.append(self._heartbeat.next)
        return min(timers)

    def _run_due_timers(self) -> None:
        for pipeline in self._pipelines:
            pipeline.check()
        if self._closing:
            self._reject_unsent()
        for request in self.own_requests.take():
            self._send(request)
        self._subscriptions.look_if_due()
        if self._heartbeat.is_due():
            self._listener.send_heartbeats()
        if self._lease_check.is_due():
            self._check_lease()

    def _check_lease(self) -> None:
        self._deposed = not self._lock.is_current()
        session_limiter = self._transport.session_limiter
        if self._pipeline.is_open and not self._pipeline.busy:
            # if the server allows one session, subscriptions have to pause while a file is transferred
            idle = not self._subscriptions.active or session_limiter.limit == 1
            if self._pipeline.unused > _IDLE_CLOSE or (idle and session_limiter.has_waiters()):
                self._pipeline.close_shell()
                self._subscriptions.reset("rejected", None)
        paths_idle = self._paths.is_open and not self._paths.busy
        if paths_idle and (self._paths.unused > _IDLE_CLOSE or session_limiter.has_waiters()):
            self._paths.close_shell()

    def _reject_unsent(self) -> None:
        self._listener.stop_accepting()
        self._reject_waiting()
        self._subscriptions.reset("rejected", None)

    def _reject_waiting(self) -> None:
        self._submissions.reject_unsent()
        for pipeline in self._pipelines:
            pipeline.reject_unsent()

    def _on_message(self, peer: Peer, kind: str, number: int, details: list[Any]) -> None:
        if self._closing:
            self._listener.send(peer, "rejected", number, None)
        elif kind == "request":
            self._request(peer, number, *details)
        elif kind == "subscribe":
            self._subscriptions.subscribe(peer, number, *details)
        else:
            peer.pending.discard(number)  # has no response
            self._subscriptions.unsubscribe(peer, *details)

    def _request(self, peer: Peer, number: int, text: str) -> None:
        def on_response(response: Response) -> None:
            self._listener.send(peer, "response", number, response)

        def on_error(error: Exception) -> None:
            self._listener.send(peer, "rejected" if isinstance(error, LeaderClosing) else "error", number, error)

        self._send(Request(text, on_response, on_error))

    def _send(self, request: Request) -> None:
        if self._closing:
            request.reject()
        elif request.text.startswith(VERB):
            self._submissions.send(request)
        else:
            self._pipeline_for(request.text).send(request)

    def _pipeline_for(self, text: str) -> Pipeline:
        if not is_limited(text) or self._one_session:
            return self._pipeline
        limiter = self._transport.session_limiter
        # a server that allows one session does so for all requests
        self._one_session = limiter.limit == 1
        if self._one_session or not (self._paths.is_open or limiter.in_use() < limiter.limit):
            # the question need not wait for a session
            return self._pipeline
        return self._paths

    def _on_disconnect(self, peer: Peer) -> None:
        self._subscriptions.unsubscribe_all(peer)

    def _on_shell_lost(self, error: Exception) -> None:
        self._subscriptions.reset("error", error)
