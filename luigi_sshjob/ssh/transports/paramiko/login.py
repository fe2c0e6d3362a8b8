"""One login by paramiko: jump hosts, host key verification and authentication."""

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
from luigi_sshjob.ssh.transports.login_info import known_hosts_name
from luigi_sshjob.ssh.transports.paramiko.authentication import Authentication, AuthenticationFailed
from luigi_sshjob.ssh.transports.paramiko.connection import ParamikoConnection, Tunnelable
from luigi_sshjob.ssh.transports.paramiko.host_config import HostConfig, load_host_config
from luigi_sshjob.ssh.transports.paramiko.host_keys import AnyHostKey, HostKeyRefused, HostKeys
from luigi_sshjob.ssh.transports.paramiko.sockets import ProxyCommand, Socket

logger = logging.getLogger("luigi-interface")

# paramiko logs failures that are raised as errors here
_LOG = "luigi_sshjob.paramiko"
logging.getLogger(_LOG).setLevel(logging.CRITICAL)

_MAX_JUMPS = 8


def log_in(destination: Destination, settings: Settings, timeout: float) -> ParamikoConnection:
    """A new connection; `timeout` is in seconds, for each step of the host's.

    Raises `LoginRefused`, `HostUnreachable` or `ConfigurationError`.
    """
    return _Login(settings, timeout).connect(destination, load_host_config(destination, settings), 0)


class _Login:
    def __init__(self, settings: Settings, timeout: float):
        self._settings = settings
        self._timeout = timeout

    def connect(self, destination: Destination, config: HostConfig, depth: int) -> ParamikoConnection:
        """Log in, over a connection to each jump host; `depth` counts them."""
        logger.debug("logging in on %s", destination)
        with contextlib.ExitStack() as on_failure:
            hop: Tunnelable | None = None
            try:
                hop, sock = self._open_hop(config, depth)
                on_failure.callback(hop.close)
                client = paramiko.SSHClient()
                on_failure.callback(client.close)
                self._log_in(client, sock, config, destination)
            except SSHJobError:
                raise
            except Exception as error:
                if is_local(error):
                    raise
                stderr = "\n".join(filter(None, (hop.stderr_text() if hop else "", _as_stderr(error, config))))
                raise login_error(stderr, destination, self._settings.ssh_config, by_hand=False) from error
            on_failure.pop_all()
            return ParamikoConnection(client, destination, self._settings, hop)

    def _open_hop(self, config: HostConfig, depth: int) -> tuple[Tunnelable, socket.socket | paramiko.Channel]:
        if not config.jumps:
            hop = ProxyCommand(config.proxy_command) if config.proxy_command else Socket(config, self._timeout)
            return hop, hop.socket
        if depth == _MAX_JUMPS:
            raise AuthenticationFailed(f"bad configuration: ProxyJump leads over more than {_MAX_JUMPS} jump hosts")
        jump = Destination.parse(config.jumps[-1], {})
        jump_config = load_host_config(jump, self._settings)
        if config.jumps[:-1]:
            jump_config = dataclasses.replace(jump_config, jumps=config.jumps[:-1])
        connection = self.connect(jump, jump_config, depth + 1)
        # never idle: the connection that it carries closes it
        connection.acquire()
        try:
            return connection, connection.channel_to((config.hostname, config.port), ("127.0.0.1", 0), self._timeout)
        except BaseException:
            connection.close()
            raise

    def _log_in(
        self,
        client: paramiko.SSHClient,
        sock: socket.socket | paramiko.Channel,
        config: HostConfig,
        destination: Destination,
    ) -> None:
        client.set_log_channel(_LOG)
        name = known_hosts_name(config.key_name, config.key_port)
        keys = AnyHostKey() if destination.no_host_key_check else HostKeys(config.known_hosts, name)
        client.set_missing_host_key_policy(keys)

        def make_transport(*args: Any, **kwargs: Any) -> paramiko.Transport:
            transport = paramiko.Transport(*args, **kwargs)
            options = transport.get_security_options()
            options.key_types = keys.preferred(options.key_types)
            # RFC 4344 recommends new keys after 2**32 blocks, of 16 bytes in all ciphers but 3DES; the host may ask
            # for them earlier. paramiko renews them every 512 MiB, and hangs if a session ends at that moment
            options.ciphers = [cipher for cipher in options.ciphers if not cipher.startswith("3des")]
            transport.packetizer.REKEY_BYTES = 1 << 36
            return transport

        client.connect(
            config.key_name,
            config.key_port,
            username=config.username,
            sock=sock,
            timeout=self._timeout,
            banner_timeout=self._timeout,
            # a person may have to respond to a prompt
            auth_timeout=self._timeout + self._settings.request_timeout,
            transport_factory=make_transport,
            auth_strategy=Authentication(config, destination),
        )


def _as_stderr(error: Exception, config: HostConfig) -> str:
    """The message that ssh(1) would print, for `error_mapping`."""
    address = f"{config.hostname} port {config.port}"
    if isinstance(error, socket.gaierror):
        if error.errno == socket.EAI_AGAIN:
            return "Temporary failure in name resolution"
        return f"Could not resolve hostname {config.hostname}: {error.strerror}"
    if isinstance(error, UnicodeError):
        return f"Could not resolve hostname {config.hostname}: {error}"
    if isinstance(error, TimeoutError):
        return f"{address}: Connection timed out"
    if isinstance(error, OSError):
        return f"{address}: {error.strerror or error}"
    if isinstance(error, paramiko.ChannelException):
        return f"the jump host does not connect to {address}: {error.text}"
    # sshd drops connections above MaxStartups before its first line, or during the login
    dropped = isinstance(error, EOFError) or "protocol banner" in str(error) or "saw EOF" in str(error)
    if dropped and not isinstance(error, (HostKeyRefused, AuthenticationFailed)):
        return f"Connection closed by {address}"
    return str(error) or type(error).__name__
