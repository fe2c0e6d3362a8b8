"""Context managers that add the host, job and action to errors, and translate `OSError`s of the local machine."""

from __future__ import annotations

import contextlib
import errno
import functools
from collections.abc import Callable, Iterator
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from luigi_sshjob.errors import FileMissing, LocalFileError, LocalResourceError, SSHJobError

_NEXT_STEPS = {
    errno.EMFILE: "raise the limit on open files (ulimit -n), or run fewer workers",
    errno.ENFILE: "end a process that holds many open files on this machine",
    errno.ENOSPC: "free disk space on this machine",
    errno.EDQUOT: "free space in your quota on this machine",
    errno.ENOMEM: "free memory on this machine, or run fewer workers",
    errno.EAGAIN: "raise the limit on processes (ulimit -u), or run fewer workers",
    errno.E2BIG: "put the text in a file instead of a command line, or run it as a RemoteJobTask",
}


@contextlib.contextmanager
def error_context(doing: str = "", *, host: str | None = None, job: str | None = None) -> Iterator[None]:
    """Adds the action, host and job to errors of this package where they lack them."""
    try:
        yield
    except SSHJobError as error:
        # a path may contain a line break or a control sequence
        doing = doing if doing.isprintable() else ascii(doing)
        error.host, error.job, error.doing = error.host or host, error.job or job, error.doing or doing
        raise


@contextlib.contextmanager
def translate_os_errors(doing: str = "", *, host: str | None = None, job: str | None = None) -> Iterator[None]:
    """Like `error_context`; also raises `LocalResourceError` for an `OSError`, and for a thread that cannot start."""
    with error_context(doing, host=host, job=job):
        try:
            yield
        except SSHJobError:
            raise
        except RuntimeError as error:
            # a library's thread; CPython has no class for it
            if not is_thread_limit(error):
                raise
            raise no_thread() from error
        except OSError as error:
            named = f" ({_file_names(error)})" if _file_names(error) else ""
            raise LocalResourceError(
                f"local operating system error: {error.strerror or error}{named}", next_step=_next_step(error)
            ) from error


class RemotePath(Protocol):
    """An object for one path on a host."""

    host: str
    path: str


_Object = TypeVar("_Object", bound=RemotePath)
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_Method = Callable[Concatenate[_Object, _Arguments], _Result]


def describes(
    doing: str,
) -> Callable[[_Method[_Object, _Arguments, _Result]], _Method[_Object, _Arguments, _Result]]:
    """Decorator for methods of a `RemotePath`; adds the action, the path and the host to their errors."""

    def decorate(method: _Method[_Object, _Arguments, _Result]) -> _Method[_Object, _Arguments, _Result]:
        @functools.wraps(method)
        def wrapper(self: _Object, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
            with error_context(f"{doing} {self.path}", host=self.host):
                return method(self, *args, **kwargs)

        return wrapper

    return decorate


@contextlib.contextmanager
def translate_local_file_errors() -> Iterator[None]:
    """Raises a `FileError` in place of an `OSError` of a local file."""
    try:
        yield
    except SSHJobError:
        raise
    except FileNotFoundError as error:
        raise FileMissing(
            f"no such file on this machine: {_file_names(error)}",
            path=str(error.filename),
            next_step="correct the local path",
        ) from error
    except OSError as error:
        raise LocalFileError(
            f"cannot read or write a local file: {error.strerror or error}: {_file_names(error)}",
            number=error.errno,
            next_step=_next_step(error),
        ) from error


def no_such_file(path: str) -> FileMissing:
    """Returns the error for a file that does not exist on the host."""
    return FileMissing(
        f"no such file on the host: {path}", path=path, next_step="correct the path, or create the file first"
    )


def is_thread_limit(error: RuntimeError) -> bool:
    """Whether it is Python's error for a thread that cannot be started, but not at its own exit."""
    return "start new thread" in str(error)


def no_thread() -> LocalResourceError:
    """Returns the error for a thread that cannot be started on this machine."""
    return LocalResourceError("no thread can be started on this machine", next_step=_NEXT_STEPS[errno.EAGAIN])


def is_local(error: BaseException) -> bool:
    """Whether the local machine lacks a resource, so that the error says nothing about the host."""
    return isinstance(error, OSError) and error.errno in _NEXT_STEPS and not isinstance(error, BlockingIOError)


def _next_step(error: OSError) -> str:
    return _NEXT_STEPS.get(error.errno or 0, "correct the path or its permissions, and run it again")


def _file_names(error: OSError) -> str:
    return " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
