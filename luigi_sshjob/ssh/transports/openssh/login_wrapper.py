"""Runs a login with a timeout in seconds: `python -I -S login_wrapper.py TIMEOUT COMMAND...`.

It also holds the lock of the login, as an inherited descriptor: if the process that started it ends, the next one
waits for this login instead of making another at the same time. Of two masters ssh leaves one without a socket,
permanently. It runs isolated, with the standard library only: it must not import this package.
"""

from __future__ import annotations

import subprocess
import sys


def main(timeout: str, *command: str) -> int:
    """The exit status of `command`, as a shell has it; 1 after the timeout."""
    try:
        status = subprocess.run(command, timeout=float(timeout), check=False).returncode
    except subprocess.TimeoutExpired:
        return 1
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
