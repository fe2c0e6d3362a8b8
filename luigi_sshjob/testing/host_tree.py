"""A directory of this machine that is the root of a host which does not exist."""

from __future__ import annotations

import errno
import fnmatch
import glob
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path

HOME = "/home/recorded"
"""The home directory of the account on each host."""

_MAX_LINKS = 40  # as Linux


class HostTree:
    """Paths of a host, each below `root`: as with chroot(2), neither `..` nor a link leads out of it."""

    def __init__(self, root: Path):
        self._root = os.fspath(root)

    def local(self, path: str, *, follow: bool = True) -> str:
        """Return where a path of the host is on this machine, which is no link unless `follow` is false.

        Raises `FileNotFoundError` if there are too many links.
        """
        found, links = "", 0
        parts = _absolute(path).rstrip("/").split("/")[::-1]
        while parts:
            part = parts.pop()
            if part == "..":
                found = posixpath.dirname(found)
            elif part not in ("", "."):
                found = posixpath.join(found, part)
                # the system would follow it out of the root
                if (parts or follow) and os.path.islink(self._at(found)):
                    links += 1
                    if links > _MAX_LINKS:
                        raise FileNotFoundError(errno.ENOENT, "too many links", path)
                    target = os.readlink(self._at(found))
                    found = "" if target.startswith("/") else posixpath.dirname(found)
                    parts += target.split("/")[::-1]
        return self._at(found)

    def files(self, path: str) -> Iterator[str]:
        """Yield the files below a directory, and those to which links below it lead, as find -L does."""
        for name in os.listdir(self.local(path)):
            inner = posixpath.join(path, name)
            local = self.local(inner)
            if os.path.isdir(local):
                yield from self.files(inner)
            elif os.path.isfile(local):
                yield inner

    def glob(self, pattern: str) -> list[str]:
        """Return the paths that match, as a shell in the home directory expands the pattern."""
        if pattern.startswith("~"):
            pattern = _absolute(pattern)
        folder, slash, name = pattern.rpartition("/")
        folders = self.glob(folder) if glob.has_magic(folder) else [folder]
        return sorted(f"{each}{slash}{found}" for each in folders for found in self._names(each + slash, name))

    def _names(self, folder: str, name: str) -> list[str]:
        try:
            if name and not glob.has_magic(name):
                return [name] if os.path.lexists(self.local(f"{folder}{name}", follow=False)) else []
            names = os.listdir(self.local(folder))
        except OSError:
            return []
        if not name:
            return [""]
        return [each for each in fnmatch.filter(names, name) if name.startswith(".") or not each.startswith(".")]

    def _at(self, path: str) -> str:
        return posixpath.join(self._root, path)


def _absolute(path: str) -> str:
    if path.startswith("~"):
        user, _, rest = path[1:].partition("/")
        path = f"/home/{user}/{rest}" if user else f"{HOME}/{rest}"
    return posixpath.join(HOME, path)
