"""What Luigi's `Popen` returns if the connection cannot be made: an ssh that says why, and fails."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any

from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import ConnectionFailed
from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.local.starting import start
from luigi_sshjob.ssh.transports.openssh.command_line import address_options


def failed_client(
    destination: Destination, cmd: Sequence[str], error: ConnectionFailed, **kwargs: Any
) -> subprocess.Popen[Any]:
    """Start a local process that prints the error on its stderr and ends with status 255.

    Its arguments are those of the ssh that it replaces, for a process listing.
    """
    script = f"printf '%s\\n' {quoting.quote(str(error))} >&2; exit 255"
    ssh = ["ssh", *address_options(destination), destination.reference, *cmd]
    return start(subprocess.Popen, ["/bin/sh", "-c", script, *ssh], **{"stdin": subprocess.DEVNULL, **kwargs})
