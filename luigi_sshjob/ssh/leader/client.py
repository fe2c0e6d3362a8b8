"""Client of the per-host leader process; becomes the leader if there is no other."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import weakref

from luigi_sshjob.error_context import translate_os_errors
from luigi_sshjob.errors import ConfigurationError, ConnectionLost
from luigi_sshjob.retry import jitter
from luigi_sshjob.ssh.leader.link import HEARTBEAT_TIMEOUT, LeaderGone, LeaderLink
from luigi_sshjob.ssh.leader.server import Leader
from luigi_sshjob.ssh.local.file_lock import FileLock
from luigi_sshjob.ssh.local.peer import is_own_account
from luigi_sshjob.ssh.local.runtime_dir import check_private, socket_path
from luigi_sshjob.ssh.shell.bounds import invalid as invalid_response
from luigi_sshjob.ssh.shell.remote_shell import Response
from luigi_sshjob.ssh.transports.base import Transport

_PROTOCOL_VERSION = 5  # of the messages


class LeaderClient:
    """Sends requests to the leader: directly if it is in this process, else over one link for each thread.

    The leader holds a lock file and listens on a socket next to it. A client that cannot connect tries to take the
    lock and to become the leader itself; it replaces a leader that is stuck by removing both files.
    """

    def __init__(self, transport: Transport, scripts_hash: str):
        self._transport = transport
        # another version of this package may run on this machine at the same time, with other scripts or messages
        name = f"{transport.key}.{scripts_hash[:4]}{_PROTOCOL_VERSION}"
        self._lock_path = transport.directory / f"{name}.lead"
        self._address = socket_path(transport.directory, name)
        self._local = threading.local()
        self._links: weakref.WeakSet[LeaderLink] = weakref.WeakSet()
        self._leader: Leader | None = None
        self._lock = threading.Lock()

    def request(self, text: str, *, idempotent: bool) -> Response:
        """Sends one request to the remote shell, see `request_text`. Raises the error that the leader met.

        Raises `ConnectionLost` if the leader ended before it responded and the request is not `idempotent`.
        """
        invalid = 0
        while True:
            try:
                return self._response(text)
            except LeaderGone as gone:
                self.close_thread_link(gone)
                self.raise_leader_failure()
                invalid += gone.invalid
                if invalid > 1:
                    raise invalid_response(str(self._transport.destination), "a request", "no message") from None
                if not idempotent and not gone.rejected:
                    raise ConnectionLost(
                        "the process that held the connection ended before the response arrived",
                        host=str(self._transport.destination),
                        next_step="check whether the request was carried out before you repeat it",
                    ) from None

    def connect(self) -> LeaderLink:
        """Opens a link to the leader, to be closed with `disconnect`."""
        with translate_os_errors(
            "connecting to the process that holds the connection", host=str(self._transport.destination)
        ):
            link = self._connect()
        with self._lock:
            # another process leads: whatever ended the leader of this one is over
            if self._leader and not self._leader.alive:
                self._leader.failure = None
        self._links.add(link)
        return link

    def disconnect(self, link: LeaderLink, gone: LeaderGone | None = None) -> None:
        """Closes a link; replaces the leader if `gone` reports it as stuck."""
        link.close()
        if gone and gone.stuck:
            self._depose(link.leader)

    def raise_leader_failure(self) -> None:
        """Raises, once, the local error that ended the leader in this process: another one would meet it again."""
        with self._lock:
            failure = self._leader.failure if self._leader else None
            if self._leader and failure:
                self._leader.failure = None
                raise failure

    def close(self, timeout: float = 5.0) -> None:
        """Ends the leader in this process, if any, within `timeout` seconds, and this thread's link."""
        with self._lock:
            leader, self._leader = self._leader, None
        if leader:
            leader.close(timeout)
        self.close_thread_link()

    def detach_after_fork(self) -> None:
        """Lets a forked child drop the parent's sockets without touching the leader."""
        for link in list(self._links):
            link.close()
        if self._leader:
            self._leader.detach_after_fork()

    def _response(self, text: str) -> Response:
        leader = self._leader
        if leader and leader.alive and leader.own_requests.is_open:
            self.close_thread_link()
            return leader.own_requests.response(text)
        link = self._thread_link()
        return link.response(link.send("request", text))

    def _thread_link(self) -> LeaderLink:
        link: LeaderLink | None = getattr(self._local, "link", None)
        if link is None:
            link = self._local.link = self.connect()
        return link

    def close_thread_link(self, gone: LeaderGone | None = None) -> None:
        """Closes the link of this thread; its next request opens another."""
        link: LeaderLink | None = getattr(self._local, "link", None)
        if link:
            self._local.link = None
            self.disconnect(link, gone)

    def _connect(self) -> LeaderLink:
        since = time.monotonic()
        while True:
            check_private(self._transport.directory)
            leader = _inode(self._lock_path)
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            # the backlog of a stopped leader may be full
            connection.settimeout(HEARTBEAT_TIMEOUT)
            try:
                connection.connect(self._address)
                self._assert_own(connection)
                return LeaderLink(connection, leader)
            except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError, BlockingIOError, TimeoutError):
                connection.close()
            except BaseException:
                connection.close()
                raise
            self._try_become_leader()
            if time.monotonic() - since > HEARTBEAT_TIMEOUT:
                self._depose(leader)
            time.sleep(jitter(0.002, 0.02))

    def _assert_own(self, connection: socket.socket) -> None:
        try:
            foreign = not is_own_account(connection)
        except OSError as error:
            # some systems do not know it of a process that has ended
            raise ConnectionResetError from error
        if foreign:
            raise ConfigurationError(
                f"a process of another account listens at a socket of the runtime directory: {self._address}",
                next_step="find out how it got there, then remove the directory, or set runtime_dir in [sshjob]",
            )

    def _try_become_leader(self) -> None:
        with self._lock:
            if self._leader and self._leader.alive:
                return
            lock = FileLock(self._lock_path)
            if lock.try_acquire():
                try:
                    self._leader = Leader(self._transport, lock, self._address)
                except BaseException:
                    lock.release()
                    raise

    def _depose(self, leader: int | None) -> None:
        """Removes a stuck leader's files, so that another can take over; if it ever resumes, it notices that."""
        guard = FileLock(self._lock_path.with_suffix(".depose"))
        if guard.try_acquire():
            if leader is not None and _inode(self._lock_path) == leader:
                for path in (self._address, self._lock_path):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(path)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(guard.path)
            guard.release()


def _inode(path: os.PathLike[str]) -> int | None:
    try:
        return os.stat(path).st_ino
    except OSError:
        return None
