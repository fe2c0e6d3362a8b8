"""A process's way to the leader of its host, or to becoming it."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import weakref

from luigi_sshjob.error_context import translate_os_errors
from luigi_sshjob.errors import ConnectionLost
from luigi_sshjob.retry import jitter
from luigi_sshjob.ssh.leader.link import HEARTBEAT_TIMEOUT, LeaderGone, LeaderLink
from luigi_sshjob.ssh.leader.server import Leader
from luigi_sshjob.ssh.local.file_lock import FileLock
from luigi_sshjob.ssh.local.runtime_dir import check_private, socket_path
from luigi_sshjob.ssh.shell.remote_shell import Response
from luigi_sshjob.ssh.transports.base import Transport

_MESSAGES = 3  # to be counted up with a change of what leader and peers say to each other


class LeaderClient:
    """Asks the leader; each thread has a link of its own. Whoever finds no leader becomes it."""

    def __init__(self, transport: Transport, protocol: str):
        self._transport = transport
        # another version of this package may be in use beside this one, and speak otherwise
        name = f"{transport.key}.{protocol[:4]}{_MESSAGES}"
        self._lock_path = transport.directory / f"{name}.lead"
        self._address = socket_path(transport.directory, name)
        self._local = threading.local()
        self._links: weakref.WeakSet[LeaderLink] = weakref.WeakSet()
        self._leader: Leader | None = None
        self._lock = threading.Lock()

    def request(self, text: str, *, idempotent: bool) -> Response:
        """One request of the remote shell, see `request_text`. Raises what the leader met with.

        One that is not `idempotent` raises `ConnectionLost` where the leader ended before it answered.
        """
        while True:
            try:
                link = self._link()
                number = link.ask("call", text)
                while (answer := link.reply(number)) is None:
                    pass
                return answer
            except LeaderGone as gone:
                self._unlink(gone)
                self._tell_failure()
                if not idempotent and not gone.moved:
                    raise ConnectionLost(
                        "the process that held the connection ended before it had the answer",
                        host=str(self._transport.destination),
                        next_step="look whether it was done before you do it again",
                    ) from None

    def watch(self, topic: str, words: str, *, interval: float, urgent: bool) -> Response | None:
        """What is new of a watched thing (see remote/server/watch.sh), or None after `HEARTBEAT` seconds without any.

        After None the same call goes on waiting.
        """
        try:
            link = self._link()
            if link.watching is None or link.watching[1:] != (topic, words):
                link.watching = (link.ask("watch", topic, words, interval, urgent), topic, words)
            answer = link.reply(link.watching[0])
            if answer is not None:
                link.watching = None
            return answer
        except LeaderGone as gone:
            self._unlink(gone)
            self._tell_failure()
            return None
        except BaseException:
            self._unlink(None)
            raise

    def close(self, patience: float = 5.0) -> None:
        """Ends this process's part in it, in so many seconds; whoever still asks goes to another leader."""
        with self._lock:
            leader, self._leader = self._leader, None
        if leader:
            leader.close(patience)
        self._unlink(None)

    def detach_after_fork(self) -> None:
        """For a forked child: lets go of what is its parent's."""
        for link in list(self._links):
            link.close()
        if self._leader:
            self._leader.detach_after_fork()

    def link(self) -> LeaderLink:
        """A way to the leader for whoever asks many things at once; let go of with `let_go`."""
        with translate_os_errors(
            "reaching the process that holds the connection", host=str(self._transport.destination)
        ):
            link = self._connected()
        self._links.add(link)
        return link

    def let_go(self, link: LeaderLink, gone: LeaderGone | None = None) -> None:
        """Closes it; `gone` is what it was found to be."""
        link.close()
        if gone and gone.stuck:
            self._depose(link.leader)

    def _link(self) -> LeaderLink:
        link: LeaderLink | None = getattr(self._local, "link", None)
        if link is None:
            link = self._local.link = self.link()
        return link

    def _unlink(self, gone: LeaderGone | None) -> None:
        link: LeaderLink | None = getattr(self._local, "link", None)
        if link:
            self._local.link = None
            self.let_go(link, gone)

    def _tell_failure(self) -> None:
        """Raises, once, what made our own leader give up: it would only happen again."""
        with self._lock:
            failure = self._leader.failure if self._leader else None
            if self._leader and failure:
                self._leader.failure = None
                raise failure

    def _connected(self) -> LeaderLink:
        since = time.monotonic()
        while True:
            check_private(self._transport.directory)
            leader = _inode(self._lock_path)
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            # where so many wait for a leader that is stopped that there is no room for one more
            connection.settimeout(HEARTBEAT_TIMEOUT)
            try:
                connection.connect(self._address)
                return LeaderLink(connection, leader)
            except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError, BlockingIOError, TimeoutError):
                connection.close()
            except BaseException:
                connection.close()
                raise
            self._lead()
            if time.monotonic() - since > HEARTBEAT_TIMEOUT:
                self._depose(leader)
            time.sleep(jitter(0.002, 0.02))

    def _lead(self) -> None:
        with self._lock:
            if self._leader and self._leader.serves:
                return
            lock = FileLock(self._lock_path)
            if lock.try_acquire():
                try:
                    self._leader = Leader(self._transport, lock, self._address)
                except BaseException:
                    lock.release()
                    raise

    def _depose(self, leader: int | None) -> None:
        """Makes room for another leader; the stuck one sees that, should it ever go on."""
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
