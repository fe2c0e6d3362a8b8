"""What the tests of workers share: arguments, and the records that jobs leave on the host."""

from __future__ import annotations

from pathlib import Path

import luigi.configuration

TASKS = "support.recording_tasks"


def most_at_once(lines: list[str]) -> int:
    """The most that had written a + and not yet a -."""
    now = most = 0
    for line in lines:
        now += 1 if line.startswith("+") else -1
        most = max(most, now)
    return most


def together(count: int) -> str:
    """A script that waits until `count` jobs run at the same time."""
    return f'while [ -e ledger ] && [ "$(grep -c + ledger)" -lt {count} ]; do sleep 0.1; done'


def ledger(host, folder) -> list[str]:
    """The lines that the jobs have written."""
    return host.run("cat", f"{folder}/ledger", check=False).splitlines()


def set_option(section: str, **values: object) -> None:
    """Set options in Luigi's configuration."""
    for name, value in values.items():
        luigi.configuration.get_config().set(section, name, str(value))


def sleepers(host, folder: str, tmp_path: Path, count: int, seconds: int) -> list[str]:
    """Arguments of `hold` for `count` jobs."""
    place = ["--host", host.alias, "--folder", folder, "--notes", str(tmp_path)]
    return ["Sleepers", *place, "--count", str(count), "--seconds", str(seconds)]
