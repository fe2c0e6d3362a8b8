"""All transports by name. A new one needs its own package, its name in config/schema.py and an entry here."""

from __future__ import annotations

from collections.abc import Callable

from luigi_sshjob.config import TRANSPORTS, Settings
from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.ssh.transports.base import DiagnosableTransport
from luigi_sshjob.ssh.transports.local.transport import LocalTransport
from luigi_sshjob.ssh.transports.openssh.transport import OpenSSHTransport


def _paramiko(destination: Destination, settings: Settings) -> DiagnosableTransport:
    try:
        from luigi_sshjob.ssh.transports.paramiko.transport import (  # noqa: PLC0415  # an extra, slow to import
            ParamikoTransport,
        )
    except ImportError as error:
        raise ConfigurationError(
            f"the transport paramiko is not installed: {error}",
            host=str(destination),
            next_step="pip install luigi-sshjob[paramiko]",
        ) from error
    return ParamikoTransport(destination, settings)


_Factory = Callable[[Destination, Settings], DiagnosableTransport]


def _auto(destination: Destination, settings: Settings) -> DiagnosableTransport:
    # any option of a login means that there is one
    this_machine = destination == Destination("localhost", transport=destination.transport)
    return (LocalTransport if this_machine else OpenSSHTransport)(destination, settings)


_TRANSPORTS: dict[str, _Factory] = dict(
    zip(TRANSPORTS, (_auto, OpenSSHTransport, _paramiko, LocalTransport), strict=True)
)


def transport_to(destination: Destination, settings: Settings) -> DiagnosableTransport:
    """The transport selected by `ssh_options`, or else by `[sshjob]`. Raises `ConfigurationError`."""
    name = destination.transport or settings.transport
    if name not in _TRANSPORTS:
        raise ConfigurationError(
            f"unknown ssh transport: {name!r}",
            host=str(destination),
            next_step=f"set transport in [sshjob], or in ssh_options, to one of {', '.join(_TRANSPORTS)}",
        )
    return _TRANSPORTS[name](destination, settings)
