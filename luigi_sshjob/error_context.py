"""Where errors learn what was being done, and where: the blocks that a request, a verb or a copy is done in.

Also the one place where what this machine's system says becomes an error of ours.
"""

from __future__ import annotations

import contextlib
import errno
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

from luigi_sshjob.errors import FileMissing, LocalFileError, LocalResourceError, SSHJobError

Method = TypeVar("Method", bound=Callable[..., Any])

# What the system says -> what a person can do about it.
_REMEDIES = {
    errno.EMFILE: "raise the limit on open files (ulimit -n), or run fewer workers",
    errno.ENFILE: "end what holds so many files open on this machine",
    errno.ENOSPC: "make room on this machine",
    errno.EDQUOT: "make room in your quota on this machine",
    errno.ENOMEM: "free memory on this machine, or run fewer workers",
    errno.EAGAIN: "raise the limit on processes (ulimit -u), or run fewer workers",
    errno.E2BIG: "a command line has an end: put the text in a file, or run it as a RemoteJobTask",
}


@contextlib.contextmanager
def error_context(doing: str = "", *, host: str | None = None, job: str | None = None) -> Iterator[None]:
    """Errors of ours that leave the block say this of themselves, but for what they know better."""
    try:
        yield
    except SSHJobError as error:
        # a path may hold a line break, and worse
        doing = doing if doing.isprintable() else ascii(doing)
        error.host, error.job, error.doing = error.host or host, error.job or job, error.doing or doing
        raise


@contextlib.contextmanager
def translate_os_errors(doing: str = "", *, host: str | None = None, job: str | None = None) -> Iterator[None]:
    """As `error_context`; what this machine has against it, an `OSError`, leaves as a `LocalResourceError`."""
    with error_context(doing, host=host, job=job):
        try:
            yield
        except SSHJobError:
            raise
        except OSError as error:
            named = f" ({_named(error)})" if _named(error) else ""
            raise LocalResourceError(
                f"this machine does not allow it: {error.strerror or error}{named}", next_step=_remedy(error)
            ) from error


def describes(doing: str) -> Callable[[Method], Method]:
    """For methods of what has a `_path` on the host of its `_connection`: their errors say so."""

    def decorated(method: Method) -> Method:
        @functools.wraps(method)
        def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
            with error_context(f"{doing} {self._path}", host=self._connection.host):
                return method(self, *args, **kwargs)

        return cast(Method, wrapped)

    return decorated


@contextlib.contextmanager
def translate_local_file_errors() -> Iterator[None]:
    """What is wrong with a file of this machine leaves the block as a `FileError`, also Python's own kind of it."""
    try:
        yield
    except SSHJobError:
        raise
    except FileNotFoundError as error:
        raise FileMissing(
            f"there is no such file on this machine: {_named(error)}",
            path=str(error.filename),
            next_step="correct the local path",
        ) from error
    except OSError as error:
        raise LocalFileError(
            f"a file of this machine cannot be read or written: {error.strerror or error}: {_named(error)}",
            number=error.errno,
            next_step=_remedy(error),
        ) from error


def no_such_file(path: str) -> FileMissing:
    """The error for one that the host does not have."""
    return FileMissing(
        f"there is no such file on the host: {path}", path=path, next_step="correct the path, or make the file before"
    )


def is_local(error: BaseException) -> bool:
    """Whether this machine has run out of something, so that nothing is said about any other."""
    return isinstance(error, OSError) and error.errno in _REMEDIES and not isinstance(error, BlockingIOError)


def _remedy(error: OSError) -> str:
    return _REMEDIES.get(error.errno or 0, "correct what the system names (path, permissions) and run it again")


def _named(error: OSError) -> str:
    return " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
