"""This machine itself, which the transport `local` reaches without SSH."""

from __future__ import annotations

from pathlib import Path

from support.loopback_host import LoopbackHost


class LocalHost(LoopbackHost):
    """The account that runs the tests, with a home in `root`."""

    kind = "local"

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.alias = "localhost"

    def start(self) -> None:
        self.ssh_config.write_text("")

    def stop(self) -> None:
        pass

    def log_text(self) -> str:
        return ""

    def accepted_logins(self) -> int:
        return 0
