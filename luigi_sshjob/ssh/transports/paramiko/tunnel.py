"""Port forwarding by sshtunnel over an existing connection."""

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
from luigi_sshjob.ssh.transports.paramiko.connection import ParamikoConnection, close_quietly

logger = logging.getLogger("luigi_sshjob.tunnel")
# sshtunnel's warnings are about its own login, which is not used
logger.setLevel(logging.ERROR)


@contextlib.contextmanager
def tunnel(
    connection: ParamikoConnection, destination: Destination, local_port: int, remote: tuple[str, int]
) -> Iterator[int]:
    """Forward 127.0.0.1:`local_port` (0: a free port) to `remote`, as the host resolves it, while the block runs.

    The connections through the tunnel end with the block. Raises `ConnectionFailed`.
    """
    forwarder = _Forwarder(
        (destination.host, destination.port or 22),
        transport=_BorrowedTransport(connection),
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
    connection.acquire(forwarder)
    try:
        yield int(forwarder.local_bind_ports[0])
    finally:
        forwarder.close_port()
        forwarder.stop()
        connection.release()


class _BorrowedTransport:
    """The connection in the form sshtunnel needs: `close` ends the tunnel's channels, not the connection."""

    def __init__(self, connection: ParamikoConnection):
        self._connection = connection
        self._channels: list[paramiko.Channel] = []
        self._closed = False

    def is_active(self) -> bool:
        return self._connection.alive and not self._closed

    def open_channel(
        self,
        kind: str,  # noqa: ARG002  # paramiko's; sshtunnel opens direct-tcpip channels only
        dest_addr: tuple[str, int],
        src_addr: tuple[str, int],
        timeout: float,
    ) -> paramiko.Channel:
        channel = self._connection.channel_to(dest_addr, src_addr, timeout)
        self._channels = [*(each for each in self._channels if not each.closed), channel]
        return channel

    def close(self) -> None:
        self._closed = True
        for channel in self._channels:
            close_quietly(channel)

    def stop_thread(self) -> None:
        pass


class _Forwarder(sshtunnel.SSHTunnelForwarder):  # type: ignore[misc]  # it has no types
    """sshtunnel without its own login, which supports no jump hosts, known_hosts or prompts."""

    def __init__(self, *args: Any, transport: _BorrowedTransport, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._transport = transport

    @staticmethod
    def _consolidate_auth(**_: Any) -> tuple[None, list[Any]]:
        return None, []

    def close_port(self) -> None:
        """Shut down the listening sockets, also the copies in a child just forked that has not closed them yet."""
        for server in self._server_list:
            with contextlib.suppress(OSError):
                server.socket.shutdown(socket.SHUT_RDWR)

    def detach_after_fork(self) -> None:
        """Close a forked child's copies."""
        for server in self._server_list:
            server.socket.close()
