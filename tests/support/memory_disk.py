"""A small file system of this machine, in memory."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def memory_disk(path: Path, options: str) -> Iterator[Path]:
    """Mounts a tmpfs at a new directory, with `options` such as its size; skips the test if that is not possible."""
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"{options},mode=700", "none", path], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield path
    subprocess.run(["umount", path], check=True)
