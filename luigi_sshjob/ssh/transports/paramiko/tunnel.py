"""A local port that leads into the host's network, by sshtunnel over the connection that is there."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import Any

import paramiko
import sshtunnel

from luigi_sshjob.destination import Destination
from luigi_sshjob.ssh.transports.error_mapping import tunnel_failed
from luigi_sshjob.ssh.transports.paramiko.connection import ParamikoConnection, hang_up

logger = logging.getLogger("luigi_sshjob.tunnel")
# its warnings are of itself, not of the tunnel
logger.setLevel(logging.ERROR)


@contextlib.contextmanager
def tunnel(
    link: ParamikoConnection, destination: Destination, local_port: int, remote: tuple[str, int]
) -> Iterator[int]:
    """While the block runs, 127.0.0.1:`local_port` (0: a free one) leads to `remote` as the host sees it.

    When it ends, also by an exception, so do the connections through it. Raises `ConnectionFailed`.
    """
    forwarder = _Forwarder(
        (destination.host, destination.port or 22),
        lent=_BorrowedTransport(link),
        ssh_config_file=None,
        local_bind_address=("127.0.0.1", local_port),
        remote_bind_address=remote,
        allow_agent=False,
        logger=logger,
    )
    try:
        forwarder.start()
    except sshtunnel.BaseSSHTunnelForwarderError as error:
        forwarder.stop()
        raise tunnel_failed(f"127.0.0.1:{local_port}:{remote[0]}:{remote[1]}", str(error), destination) from error
    # a forked child must not keep the port open
    link.taken(forwarder)
    try:
        yield int(forwarder.local_bind_ports[0])
    finally:
        forwarder.close_port()
        forwarder.stop()
        link.given_back()


class _BorrowedTransport:
    """The connection as sshtunnel may use it: it is not sshtunnel's to close, the channels are."""

    def __init__(self, link: ParamikoConnection):
        self._link = link
        self._channels: list[paramiko.Channel] = []
        self._given_back = False

    def is_active(self) -> bool:
        return self._link.alive and not self._given_back

    def open_channel(
        self, kind: str, dest_addr: tuple[str, int], src_addr: tuple[str, int], timeout: float
    ) -> paramiko.Channel:
        channel = self._link.channel_to(dest_addr, src_addr, timeout)
        self._channels = [*(one for one in self._channels if not one.closed), channel]
        return channel

    def close(self) -> None:
        self._given_back = True
        for channel in self._channels:
            hang_up(channel)

    def stop_thread(self) -> None:
        pass


class _Forwarder(sshtunnel.SSHTunnelForwarder):  # type: ignore[misc]  # it has no types
    """sshtunnel's, without a login of its own: it knows neither jump hosts nor known_hosts nor questions."""

    def __init__(self, *args: Any, lent: _BorrowedTransport, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._transport = lent

    @staticmethod
    def _consolidate_auth(**_: Any) -> tuple[None, list[Any]]:
        return None, []

    def close_port(self) -> None:
        """Also for copies of its socket: a child that has just been forked may not have closed its own yet."""
        for server in self._server_list:
            with contextlib.suppress(OSError):
                server.socket.shutdown(socket.SHUT_RDWR)

    def detach_after_fork(self) -> None:
        """For a forked child."""
        for server in self._server_list:
            server.socket.close()
