"""One login by paramiko: over which hops, whether the host is who it should be, and whether it lets us in."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import socket
from typing import Any

import paramiko

from luigi_sshjob.config import Settings
from luigi_sshjob.destination import Destination
from luigi_sshjob.error_context import is_local
from luigi_sshjob.errors import SSHJobError
from luigi_sshjob.ssh.transports.error_mapping import login_error
from luigi_sshjob.ssh.transports.paramiko.authentication import Authentication, AuthenticationFailed
from luigi_sshjob.ssh.transports.paramiko.connection import ParamikoConnection, Tunnelable
from luigi_sshjob.ssh.transports.paramiko.host_config import HostConfig, load_host_config
from luigi_sshjob.ssh.transports.paramiko.host_keys import AnyHostKey, HostKeyRefused, HostKeys
from luigi_sshjob.ssh.transports.paramiko.sockets import ProxyCommand, Socket

logger = logging.getLogger("luigi-interface")

# What paramiko would log of an end we say in errors of ours.
_LOG = "luigi_sshjob.paramiko"
logging.getLogger(_LOG).setLevel(logging.CRITICAL)

_LONGEST_CHAIN = 8  # jump hosts


def log_in(destination: Destination, settings: Settings, timeout: float) -> ParamikoConnection:
    """A connection of this process; `timeout` is in seconds, for each step that is the host's.

    Raises `LoginRefused`, `HostUnreachable` or `ConfigurationError`.
    """
    return _Login(settings, timeout).of(destination, load_host_config(destination, settings), 0)


class _Login:
    def __init__(self, settings: Settings, timeout: float):
        self._settings = settings
        self._timeout = timeout

    def of(self, destination: Destination, way: HostConfig, jumped: int) -> ParamikoConnection:
        logger.debug("logging in on %s", destination)
        with contextlib.ExitStack() as on_failure:
            hop: Tunnelable | None = None
            try:
                hop, sock = self._hop(way, jumped)
                on_failure.callback(hop.close)
                client = paramiko.SSHClient()
                on_failure.callback(client.close)
                self._connect(client, sock, way, destination)
            except SSHJobError:
                raise
            except Exception as error:
                if is_local(error):
                    raise
                said = "\n".join(filter(None, (hop.said() if hop else "", _words(error, way))))
                raise login_error(said, destination, self._settings.ssh_config) from error
            on_failure.pop_all()
            return ParamikoConnection(client, destination, self._settings, hop)

    def _hop(self, way: HostConfig, jumped: int) -> tuple[Tunnelable, socket.socket | paramiko.Channel]:
        if not way.jumps:
            hop = ProxyCommand(way.proxy_command) if way.proxy_command else Socket(way, self._timeout)
            return hop, hop.socket
        if jumped == _LONGEST_CHAIN:
            raise AuthenticationFailed("bad configuration: ProxyJump leads from one jump host to the next without end")
        jump = Destination.parse(way.jumps[-1], {})
        jump_way = load_host_config(jump, self._settings)
        if way.jumps[:-1]:
            jump_way = dataclasses.replace(jump_way, jumps=way.jumps[:-1])
        link = self.of(jump, jump_way, jumped + 1)
        # it is not idle for as long as the connection through it lasts, which ends it
        link.taken()
        try:
            return link, link.channel_to((way.hostname, way.port), ("127.0.0.1", 0), self._timeout)
        except BaseException:
            link.close()
            raise

    def _connect(
        self,
        client: paramiko.SSHClient,
        sock: socket.socket | paramiko.Channel,
        way: HostConfig,
        destination: Destination,
    ) -> None:
        client.set_log_channel(_LOG)
        name = way.key_name if way.key_port == 22 else f"[{way.key_name}]:{way.key_port}"
        keys = AnyHostKey() if destination.no_host_key_check else HostKeys(way.known_hosts, name)
        client.set_missing_host_key_policy(keys)

        def transport(*args: Any, **kwargs: Any) -> paramiko.Transport:
            made = paramiko.Transport(*args, **kwargs)
            options = made.get_security_options()
            options.key_types = keys.preferred(options.key_types)
            # RFC 4344 has new keys every 2**32 blocks, of 16 bytes in all ciphers but this one; or when the host wants
            # them. paramiko would every 512 MiB, and hang when a session ends at that very moment
            options.ciphers = [cipher for cipher in options.ciphers if not cipher.startswith("3des")]
            made.packetizer.REKEY_BYTES = 1 << 36
            return made

        client.connect(
            way.key_name,
            way.key_port,
            username=way.username,
            sock=sock,
            timeout=self._timeout,
            banner_timeout=self._timeout,
            # a person may have to answer
            auth_timeout=self._timeout + self._settings.request_timeout,
            transport_factory=transport,
            auth_strategy=Authentication(way, destination),
        )


def _words(error: Exception, way: HostConfig) -> str:
    """As ssh would say it."""
    if isinstance(error, socket.gaierror):
        if error.errno == socket.EAI_AGAIN:
            return "Temporary failure in name resolution"
        return f"Could not resolve hostname {way.hostname}: {error.strerror}"
    if isinstance(error, UnicodeError):
        return f"Could not resolve hostname {way.hostname}: {error}"
    if isinstance(error, TimeoutError):
        return f"{way.hostname} port {way.port}: Connection timed out"
    if isinstance(error, OSError):
        return f"{way.hostname} port {way.port}: {error.strerror or error}"
    if isinstance(error, paramiko.ChannelException):
        return f"the jump host does not connect to {way.hostname} port {way.port}: {error.text}"
    # what sshd drops above MaxStartups ends before its first line, or in the middle of a login
    dropped = isinstance(error, EOFError) or "protocol banner" in str(error) or "saw EOF" in str(error)
    if dropped and not isinstance(error, (HostKeyRefused, AuthenticationFailed)):
        return f"Connection closed by {way.hostname} port {way.port}"
    return str(error) or type(error).__name__
