"""Finds the files of a task's `project`, and makes them one archive for the cache of its host."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from luigi_sshjob.error_context import error_context, translate_local_file_errors
from luigi_sshjob.errors import ConfigurationError, LocalFileError
from luigi_sshjob.targets.content import Content
from luigi_sshjob.targets.source import version_of
from luigi_sshjob.targets.tree import Member, walk
from luigi_sshjob.text import one_line

logger = logging.getLogger("luigi-interface")

_GIT_TIMEOUT = 60.0  # seconds
# seconds; for many tasks that start together. A changed or added file is noticed at once, a changed .gitignore then
_REMEMBERED = 2.0
_SHOWN = 3  # untracked files in a warning
# set by git for its hooks, and by people for another repository
_ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX", "GIT_LITERAL_PATHSPECS")


def project_content(project: Any) -> Content:
    """The files of a directory that git tracks, or those that match patterns, as they are now.

    Relative to the current directory. Raises `ConfigurationError` for a value that names no files, and `LocalFileError`
    if they cannot be read.
    """
    # one thread at a time: the others find what it has read
    with error_context("finding the files of its project"), translate_local_file_errors(), _lock:
        root, members = _found(project)
        if not any(not each.is_directory for each in members):
            raise ConfigurationError(
                f"the project has no files to send: {root}",
                next_step="add the files to git, or list patterns of files in `project`",
            )
        content = _contents.get(root)
        if content is None or members != content.members:
            content = Content(root, members)
            if content.settled:
                _contents[root] = content
        return content


def _found(project: Any) -> tuple[str, tuple[Member, ...]]:
    """The directory, and its files in the order of their names."""
    if isinstance(project, (str, os.PathLike)):
        root = os.path.realpath(os.fspath(project))
        if not os.path.isdir(root):
            raise ConfigurationError(
                f"project is not a directory: {os.fspath(project)}",
                next_step='use a directory, or a list of patterns of files: ["*.py", "data/**"]',
            )
        tracked = _tracked(root)
        names = set(_below(root) if tracked is None else tracked)
    elif isinstance(project, Sequence) and all(isinstance(each, (str, os.PathLike)) for each in project):
        root = os.path.realpath(".")
        names = _matching(root, [os.fspath(each) for each in project])
    else:
        raise ConfigurationError(
            f"project must be a directory or a list of patterns: {project!r}",
            next_step='use "." for the directory in which Luigi runs',
        )
    # what belongs to a repository is not a part of its files
    own = {name for name in names if ".git" not in PurePosixPath(name).parts}
    return root, tuple(_members(root, sorted(own, key=os.fsencode)))


def _members(root: str, names: Iterable[str]) -> Iterator[Member]:
    for name in names:
        try:
            yield Member.of(os.path.join(root, name), f"./{name}")
        except (FileNotFoundError, NotADirectoryError):
            # git tracks it, but it was deleted
            continue


def _tracked(root: str) -> list[str] | None:
    """What git tracks in the directory, with submodules; None if it is in no repository."""
    folder = _git(root, "rev-parse", "--absolute-git-dir")
    if folder is None:
        return None
    index = os.path.join(os.fsdecode(folder).removesuffix("\n"), "index")
    # what was added is noticed at once
    version = version_of(os.stat(index)) if os.path.exists(index) else ()
    names = _names(_git(root, "ls-files", "-z", "--cached", "--recurse-submodules", version=version))
    _warn_of_untracked(root)
    return names


def _warn_of_untracked(root: str) -> None:
    others = [] if root in _warned else _names(_git(root, "ls-files", "-z", *_OTHERS))
    if others:
        _warned.add(root)
        shown = [*map(one_line, others[:_SHOWN]), *["…"] * (len(others) > _SHOWN)]
        logger.warning(
            "the project %s is sent without files that git does not track: %s; `git add` them if the job needs them",
            one_line(root),
            ", ".join(shown),
        )


_OTHERS = ("--others", "--exclude-standard", "--directory", "--no-empty-directory")


def _matching(root: str, patterns: Sequence[str]) -> set[str]:
    """What matches one of the patterns, and is not ignored by git."""
    found: set[str] = set()
    for pattern in patterns:
        matches = set(_glob(root, pattern))
        if not matches:
            raise ConfigurationError(
                f"no file matches a pattern of project: {pattern!r} in {root}", next_step="correct the pattern"
            )
        found |= matches
    ignored = {name.rstrip("/") for name in _names(_git(root, "ls-files", "-z", "--ignored", *_OTHERS))}
    links = {name for name in found if os.path.islink(os.path.join(root, name))}
    # below a link that is sent itself there is nothing to send
    return {name for name in found if name not in ignored and not _parents(name) & (ignored | links)}


def _glob(root: str, pattern: str) -> Iterator[str]:
    """The names that match a pattern, and all below the directories that do."""
    parts = PurePosixPath(pattern).parts
    invalid = ConfigurationError(
        f"invalid pattern of project: {pattern!r}",
        next_step="use a pattern of pathlib, relative to the current directory and without ..: src/**/*.py",
    )
    if os.path.isabs(pattern) or ".." in parts:
        raise invalid
    try:
        # "." is no pattern for pathlib
        paths = list(Path(root).glob(pattern)) if parts else [Path(root)]
    except ValueError:
        raise invalid from None
    for path in paths:
        name = path.relative_to(root).as_posix()
        if path.is_dir() and not path.is_symlink():
            yield from _below(root, name)
        else:
            yield name


def _below(root: str, folder: str = ".") -> Iterator[str]:
    for _, name in walk(os.path.join(root, folder)):
        yield os.path.normpath(os.path.join(folder, name)).replace(os.sep, "/")


def _parents(name: str) -> set[str]:
    return {str(parent) for parent in PurePosixPath(name).parents}


def _names(listed: bytes | None) -> list[str]:
    return [os.fsdecode(name) for name in (listed or b"").split(b"\0") if name]


def _git(root: str, *arguments: str, version: object = None) -> bytes | None:
    """What a command of git prints, or has printed a moment ago; None outside of a repository, and without git."""
    known, asked, printed = _printed.get((root, arguments), (None, -math.inf, None))
    if known != version or time.monotonic() - asked >= _REMEMBERED:
        asked, printed = time.monotonic(), _run_git(root, *arguments)
        _printed[root, arguments] = version, asked, printed
    return printed


def _run_git(root: str, *arguments: str) -> bytes | None:
    environment = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    try:
        ended = subprocess.run(
            ["git", "-C", root, *arguments],
            env={**environment, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        if any((parent / ".git").exists() for parent in (Path(root), *Path(root).parents)):
            _warn_of_missing_git(root)
        return None
    except subprocess.TimeoutExpired:
        raise _no_list(root, f"git did not respond within {_GIT_TIMEOUT:g} s") from None
    if ended.returncode == 0:
        return ended.stdout
    error = ended.stderr.decode("utf-8", "replace").strip()
    # any other error, such as a repository of another account or a broken link to one, does not mean that all files may
    # be sent
    if "not a git repository (or any" in error:
        return None
    raise _no_list(root, error)


def _warn_of_missing_git(root: str) -> None:
    if root not in _warned:
        _warned.add(root)
        logger.warning("this machine has no git: files of %s that git ignores are sent, too", one_line(root))


def _no_list(root: str, reason: str) -> LocalFileError:
    return LocalFileError(
        f"git cannot list the files of the project {root}: {reason}",
        next_step="run `git status` there and follow its advice, or list patterns of files in `project`",
    )


_lock = threading.Lock()
_contents: dict[str, Content] = {}
_printed: dict[object, tuple[object, float, bytes | None]] = {}
_warned: set[str] = set()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
