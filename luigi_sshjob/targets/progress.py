"""How far a transfer is: told to a function, or shown as a bar on a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

Progress = Callable[[int, "int | None"], None]
"""Called with the bytes that have gone, and how many there are in all where that is known."""


@contextlib.contextmanager
def shown(progress: Progress | bool | None, name: str) -> Iterator[Progress]:
    """What to tell of a transfer while the block runs. True: a bar, where standard error is a terminal."""
    if callable(progress):
        yield progress
    elif progress and sys.stderr.isatty():
        yield from _bar(name)
    else:
        yield lambda reached, total: None


def _bar(name: str) -> Iterator[Progress]:
    # most programs never show one
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn(escape(name)), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None)
        yield lambda reached, total: bar.update(task, completed=reached, total=total)
