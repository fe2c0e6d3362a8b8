"""Progress of transfers: reported to a function, or shown as a bar on a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

Progress = Callable[[int, "int | None"], None]
"""Called with the number of bytes transferred, and their total number or None if that is unknown."""


@contextlib.contextmanager
def progress_callback(progress: Progress | bool | None, name: str) -> Iterator[Progress]:
    """Yields the function to report to; True shows a bar if stderr is a terminal."""
    if callable(progress):
        yield progress
    elif progress and sys.stderr.isatty():
        yield from _bar(name)
    else:
        yield lambda *_: None


def _bar(name: str) -> Iterator[Progress]:
    # rich takes 70 ms to import, and few programs show a bar
    from rich import progress  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    with progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as bar:
        task = bar.add_task(name, total=None)
        yield lambda reached, total: bar.update(task, completed=reached, total=total)
