"""A TCP proxy between the tests and a host's sshd, whose connections can be cut."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time

from support.hosts import Host


class Proxy:
    """Forwards its port to `target`."""

    def __init__(self, target: tuple[str, int], delay: float = 0.0, address: str = "127.0.0.1"):
        """`delay` is added in each direction, in seconds."""
        self._target = target
        self._delay = delay
        # with the zone of an IPv6 address as a number
        family, _, _, _, numeric = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)[0]
        self._listener = socket.create_server(numeric, family=family)
        self.port = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._silent = self._closed = False
        self._left: dict[bool, int] = {}
        self._passed = {True: 0, False: 0}
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def sent(self) -> int:
        """Bytes from the client to the server so far."""
        return self._passed[True]

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self._pairs) // 2

    @property
    def received(self) -> int:
        """Bytes from the server to the client so far."""
        return self._passed[False]

    def cut_after(self, *, sent: int | None = None, received: int | None = None) -> None:
        """Reset one connection after this number of further bytes in that direction."""
        if sent is not None:
            self._left[True] = sent
        if received is not None:
            self._left[False] = received

    def cut(self) -> None:
        """Reset all connections; new ones are accepted."""
        with self._lock:
            self._left.clear()
            for one in list(self._pairs):
                self._drop(one)
        self._wake.send(b"x")

    def silence(self) -> None:
        """Stop forwarding without closing anything, as if a cable were unplugged."""
        self._silent = True

    def restore(self) -> None:
        """Forward again, also the bytes that were held back."""
        self._silent = False
        self._wake.send(b"x")

    def close(self) -> None:
        """Close all connections and stop."""
        self._closed = True
        self._wake.send(b"x")
        self._thread.join()
        for one in list(self._pairs):
            self._drop(one)
        for one in (self._listener, self._wake, self._woken):
            one.close()

    def _serve(self) -> None:
        while not self._closed:
            for key, _ in self._selector.select():
                with self._lock:
                    if key.fileobj is self._woken:
                        self._woken.recv(100)
                    elif self._silent:
                        # read nothing until restore() or close()
                        self._selector.unregister(self._listener)
                        self._wait_for_restore()
                    elif key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj in self._pairs:
                        self._pass_on(key.fileobj)

    def _wait_for_restore(self) -> None:
        self._lock.release()
        try:
            while self._silent and not self._closed:
                self._woken.recv(100)
        finally:
            self._lock.acquire()
        self._selector.register(self._listener, selectors.EVENT_READ)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(self._target, timeout=10)
        except OSError:
            client.close()
            return
        for one, other in ((client, server), (server, client)):
            one.settimeout(10)
            self._pairs[one] = other
            self._selector.register(one, selectors.EVENT_READ, one is client)

    def _pass_on(self, source: socket.socket) -> None:
        try:
            data = source.recv(65536)
            time.sleep(self._delay)
            if data and self._is_whole(self._selector.get_key(source).data, len(data)):
                self._pairs[source].sendall(data)
                return
        except OSError:
            pass
        self._drop(source)

    def _is_whole(self, from_client: bool, count: int) -> bool:
        self._passed[from_client] += count
        if from_client in self._left:
            self._left[from_client] -= count
            if self._left[from_client] <= 0:
                del self._left[from_client]
                return False
        return True

    def _drop(self, one: socket.socket) -> None:
        for end in (one, self._pairs.get(one)):
            if end is not None and self._pairs.pop(end, None) is not None:
                with contextlib.suppress(KeyError):
                    self._selector.unregister(end)
                end.close()


def through(proxy: Proxy, host: Host, name: str | None = None) -> str:
    """Return a client configuration that reaches the host through the proxy, by that name, or else by its alias."""
    text = host.ssh_config.read_text().replace(f"  Port {host.port}\n", f"  Port {proxy.port}\n")
    text = text.replace(f"Host {host.alias}\n", f"Host {name or host.alias}\n")
    return f"{text}  HostKeyAlias [127.0.0.1]:{host.port}\n"
