"""The leader: of all processes of this account the one that holds the remote shell of a host, and asks for all.

It is a thread in a process that asked first. Others send it their requests over a socket; it sends them on as they
come, without waiting for one answer before the next request, and looks at all watched jobs with one request. It keeps
nothing that would be missed: whoever is left without an answer asks the next leader.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable

from luigi_sshjob.errors import ConnectionLost, SSHJobError
from luigi_sshjob.ssh.frames import Unpacker, pack
from luigi_sshjob.ssh.openssh import OpenSSH
from luigi_sshjob.ssh.remote_shell import Answer, Part, RemoteShell, deadline_in
from luigi_sshjob.ssh.runtime import FileLock

logger = logging.getLogger("luigi-interface")

BEAT = 2.0  # seconds between two signs of life to whoever waits for an answer
_IDLE_CLOSE = 60.0  # seconds an unused shell keeps its session while nobody waits for it
_ATTENTION = 0.25  # seconds between two looks at whether somebody waits for a session, or has deposed us
_FIRST_PAUSE = 0.1  # seconds between two looks while there is news
_SLOWING = 1.15  # each look without news makes the pause so much longer


class _Peer:
    """A process that asks."""

    def __init__(self, connection: socket.socket):
        self.socket = connection
        self.unpacker = Unpacker()
        self.unsent = bytearray()
        self.waits_for: set[int] = set()
        self.watches: dict[str, _Watch] = {}


@dataclasses.dataclass(eq=False)
class _Request:
    """What goes to the remote shell, and who gets the answer."""

    text: str
    answered: Callable[[Answer], None]
    failed: Callable[[Exception], None]


@dataclasses.dataclass(eq=False)
class _Watch:
    """What a peer wants to be told of when it has changed; `number` is that of its request while it waits."""

    identity: int
    peer: _Peer
    interval: float
    number: int | None = None


class Leader:
    """Serves the socket at `address` for as long as `lock` is held."""

    def __init__(self, transport: OpenSSH, lock: FileLock, address: str):
        self._transport = transport
        self._settings = transport.settings
        self._lock = lock
        self._address = address
        self._selector = selectors.DefaultSelector()
        self._peers: set[_Peer] = set()
        self._shell: RemoteShell | None = None
        self._stdin = self._stdout = -1
        self._opening: threading.Thread | None = None
        self._opened: deque[RemoteShell | Exception] = deque()
        self._waiting: deque[_Request] = deque()  # for a shell
        self._asked: deque[_Request] = deque()  # of the shell, in this order
        self._outgoing = bytearray()
        self._watches: dict[int, _Watch] = {}
        self._watch_count = 0
        self._looking = False
        self._pause = _FIRST_PAUSE
        now = time.monotonic()
        self._next_look = self._next_beat = self._next_attention = self._heard = self._used = now
        self._closing = self._deposed = self._ended = False
        self._wake, self._woken = socket.socketpair()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(address)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(address)
        self._listener.listen(1024)
        for one, act in ((self._listener, self._accept), (self._woken, self._wake_up)):
            one.setblocking(False)
            self._selector.register(one, selectors.EVENT_READ, act)
        name = f"sshjob {transport.destination}"
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    @property
    def serves(self) -> bool:
        """Whether it still does."""
        return self._thread.is_alive()

    def close(self, patience: float = 5.0) -> None:
        """Sends everybody to the next leader; what was asked is answered before, within `patience` seconds."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._wake.send(b"x")
        self._thread.join(patience)

    def abandon(self) -> None:
        """For a forked child: lets go of what is its parent's."""
        for one in (self._listener, self._wake, self._woken, *(peer.socket for peer in self._peers)):
            one.close()
        self._selector.close()
        if self._shell:
            self._shell.abandon()
        for opened in self._opened:
            if isinstance(opened, RemoteShell):
                opened.abandon()

    def _serve(self) -> None:
        try:
            while not (self._deposed or (self._closing and self._all_said())):
                for key, events in self._selector.select(max(0.0, self._next_moment() - time.monotonic())):
                    key.data(events)
                self._tend()
        except Exception:
            logger.exception("%s: the shared connection is given up by this process", self._transport.destination)
        finally:
            self._end()

    def _all_said(self) -> bool:
        return not self._asked and not any(peer.unsent for peer in self._peers)

    def _end(self) -> None:
        self._ended = True
        if not self._deposed:
            # before the lock is free, or these would be the next leader's
            for path in (self._address, self._lock.path):
                with contextlib.suppress(OSError):
                    os.unlink(path)
        self._lock.release()
        for one in (self._listener, *(peer.socket for peer in self._peers)):
            one.close()
        self._close_opened()
        if self._shell:
            self._shell.close()
        with contextlib.suppress(OSError):
            self._transport.gate.sweep()
        self._selector.close()
        self._wake.close()
        self._woken.close()

    def _close_opened(self) -> None:
        while self._opened:
            opened = self._opened.popleft()
            if isinstance(opened, RemoteShell):
                opened.close()

    # -- what is due

    def _next_moment(self) -> float:
        moments = [self._next_attention]
        if any(peer.waits_for for peer in self._peers):
            moments.append(self._next_beat)
        if self._wants_look():
            moments.append(self._next_look)
        return min(moments)

    def _tend(self) -> None:
        now = time.monotonic()
        if self._opened:
            self._take_shell(self._opened.popleft())
        if self._asked and now - self._heard > self._settings.request_timeout:
            self._lose(self._silent())
        if self._closing:
            self._send_away()
        elif (self._waiting or self._armed()) and not self._shell and not self._opening:
            self._open()
        if self._wants_look() and now >= self._next_look:
            self._look()
        if now >= self._next_beat:
            self._next_beat = now + BEAT
            for peer in list(self._peers):
                if peer.waits_for:
                    self._send(peer, "beat", 0, None)
        if now >= self._next_attention:
            self._next_attention = now + _ATTENTION
            self._attend(now)

    def _attend(self, now: float) -> None:
        self._deposed = not self._lock.stands()
        gate = self._transport.gate
        if self._shell and not self._asked:
            # with one session for all even watching has to pause while somebody transfers a file
            idle = not self._armed()
            if now - self._used > _IDLE_CLOSE or ((idle or gate.size == 1) and gate.contended()):
                self._drop_shell("moved", None)

    def _armed(self) -> bool:
        return any(watch.number is not None for watch in self._watches.values())

    def _wants_look(self) -> bool:
        return self._shell is not None and not self._looking and not self._closing and self._armed()

    # -- peers

    def _accept(self, _: int) -> None:
        connection, _address = self._listener.accept()
        connection.setblocking(False)
        peer = _Peer(connection)
        self._peers.add(peer)
        self._selector.register(connection, selectors.EVENT_READ, lambda events: self._serve_peer(peer, events))

    def _wake_up(self, _: int) -> None:
        self._woken.recv(1000)

    def _serve_peer(self, peer: _Peer, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush(peer)
        if not events & selectors.EVENT_READ or peer not in self._peers:
            return
        try:
            data = peer.socket.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._forget(peer)
            return
        try:
            messages = list(peer.unpacker.feed(data))
        except Exception:  # not one of us
            self._forget(peer)
            return
        for kind, number, *details in messages:
            peer.waits_for.add(number)
            if kind == "call":
                self._ask(peer, number, *details)
            else:
                self._arm(peer, number, *details)

    def _flush(self, peer: _Peer) -> None:
        try:
            while peer.unsent:
                del peer.unsent[: peer.socket.send(peer.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._forget(peer)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.unsent else 0)
        key = self._selector.get_key(peer.socket)
        if key.events != events:
            self._selector.modify(peer.socket, events, key.data)

    def _forget(self, peer: _Peer) -> None:
        self._peers.discard(peer)
        with contextlib.suppress(KeyError):
            self._selector.unregister(peer.socket)
        peer.socket.close()
        gone = [str(watch.identity) for watch in peer.watches.values() if self._watches.pop(watch.identity, None)]
        if gone and self._shell:
            self._to_shell(f"watch_drop {' '.join(gone)}")

    def _send(self, peer: _Peer, kind: str, number: int, content: object) -> None:
        if peer not in self._peers:
            return
        peer.waits_for.discard(number)
        peer.unsent += pack((kind, number, content))
        self._flush(peer)

    def _send_away(self) -> None:
        if self._listener.fileno() >= 0:
            with contextlib.suppress(KeyError):
                self._selector.unregister(self._listener)
            self._listener.close()
        for request in self._waiting:
            request.failed(_Moved())
        self._waiting.clear()
        for watch in list(self._watches.values()):
            self._tell(watch, "moved", None)

    # -- requests

    def _ask(self, peer: _Peer, number: int, text: str) -> None:
        self._put(
            _Request(
                text,
                lambda answer: self._send(peer, "answer", number, answer),
                lambda error: self._refuse(peer, number, error),
            )
        )

    def _refuse(self, peer: _Peer, number: int, error: Exception) -> None:
        self._send(peer, "moved" if isinstance(error, _Moved) else "error", number, error)

    def _put(self, request: _Request) -> None:
        if self._closing:
            request.failed(_Moved())
        elif self._shell:
            self._ask_shell(request)
        else:
            self._waiting.append(request)

    def _arm(self, peer: _Peer, number: int, topic: str, words: str, interval: float, urgent: bool) -> None:
        watch = peer.watches.get(topic)
        if watch is None or watch.identity not in self._watches:
            self._watch_count += 1
            watch = peer.watches[topic] = _Watch(self._watch_count, peer, interval)
            self._watches[watch.identity] = watch
        watch.number = number
        if self._closing:
            self._tell(watch, "moved", None)
            return
        request = _Request(f"watch_arm {watch.identity} {words}", _nothing, _nothing)
        self._put(request)
        if not self._shell:
            # told of a failure by itself, see _lose
            return
        soonest = time.monotonic() if urgent else self._used + _FIRST_PAUSE / 2 + len(self._watches) / 1000
        self._next_look = min(self._next_look, soonest)

    def _tell(self, watch: _Watch, kind: str, content: object) -> None:
        if watch.number is not None:
            number, watch.number = watch.number, None
            self._send(watch.peer, kind, number, content)

    def _look(self) -> None:
        self._looking = True
        self._ask_shell(_Request("watch_look", self._looked, _nothing))

    def _looked(self, answer: Answer) -> None:
        self._looking = False
        news: dict[int, list[Part]] = {}
        for part in answer.parts:
            news.setdefault(part.index, []).append(part)
        self._pause = _FIRST_PAUSE if news else self._pause * _SLOWING
        intervals = [watch.interval for watch in self._watches.values() if watch.number is not None]
        self._pause = min([self._pause, *intervals])
        self._next_look = time.monotonic() + self._pause
        for identity, parts in news.items():
            if identity in self._watches:
                self._tell(self._watches[identity], "answer", Answer(0, b"", tuple(parts)))

    # -- the shell

    def _open(self) -> None:
        def work() -> None:
            # a login may take long: meanwhile whoever waits gets signs of life
            try:
                self._opened.append(RemoteShell(self._transport, deadline=deadline_in(self._settings.request_timeout)))
            except Exception as error:
                self._opened.append(error)
            if self._ended:
                self._close_opened()
                return
            with contextlib.suppress(OSError):
                self._wake.send(b"x")

        self._opening = threading.Thread(target=work, name=f"sshjob login {self._transport.destination}", daemon=True)
        self._opening.start()

    def _take_shell(self, opened: RemoteShell | Exception) -> None:
        self._opening = None
        if isinstance(opened, Exception):
            self._lose(opened)
            return
        self._shell = opened
        self._heard = self._used = self._next_look = time.monotonic()
        self._stdin, self._stdout = opened.session.stdin, opened.session.stdout
        for fd in (self._stdin, self._stdout):
            os.set_blocking(fd, False)
        self._selector.register(self._stdout, selectors.EVENT_READ, self._hear)
        waiting, self._waiting = self._waiting, deque()
        for request in waiting:
            self._put(request)

    def _ask_shell(self, request: _Request) -> None:
        assert self._shell is not None
        if not self._asked:
            self._heard = time.monotonic()
        self._asked.append(request)
        self._to_wire(self._shell.conversation.request(request.text))

    def _to_shell(self, text: str) -> None:
        self._ask_shell(_Request(text, _nothing, _nothing))

    def _to_wire(self, data: bytes) -> None:
        idle = not self._outgoing
        self._outgoing += data
        if idle:
            self._speak(0)

    def _speak(self, _: int) -> None:
        try:
            while self._outgoing:
                del self._outgoing[: os.write(self._stdin, self._outgoing[: 1 << 18])]
        except BlockingIOError:
            with contextlib.suppress(KeyError):
                self._selector.register(self._stdin, selectors.EVENT_WRITE, self._speak)
            return
        except OSError:
            # nobody reads any more: reading says why
            self._outgoing.clear()
        with contextlib.suppress(KeyError):
            self._selector.unregister(self._stdin)

    def _hear(self, _: int) -> None:
        assert self._shell is not None
        try:
            data = os.read(self._stdout, 1 << 20)
        except BlockingIOError:
            return
        if not data:
            self._silence_shell()
            self._lose(self._shell.session.lost())
            return
        self._heard = self._used = time.monotonic()
        for answer in self._shell.conversation.feed(data):
            self._asked.popleft().answered(answer)

    def _lose(self, error: Exception) -> None:
        """There is no shell: whoever waits for one gets the error, and asks again if it wants to."""
        waiting = [*self._asked, *self._waiting]
        self._asked.clear()
        self._waiting.clear()
        self._drop_shell("error", error)
        for request in waiting:
            request.failed(error)

    def _silent(self) -> SSHJobError:
        return ConnectionLost(
            "the host did not answer in time",
            host=str(self._transport.destination),
            next_step="wait; if the host is only slow, raise request_timeout in [sshjob]",
        )

    def _drop_shell(self, kind: str, content: object) -> None:
        """The session is given back; who watches is told so, as the far side knows of no watch any more."""
        watches, self._watches = self._watches, {}
        self._looking = False
        if self._shell:
            self._silence_shell()
            self._shell.close()
            self._shell = None
        for watch in watches.values():
            self._tell(watch, kind, content)

    def _silence_shell(self) -> None:
        self._outgoing.clear()
        for fd in (self._stdin, self._stdout):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(fd)


class _Moved(Exception):
    """Another leader is to be asked; this one has not begun."""


def _nothing(_: object) -> None:
    pass
