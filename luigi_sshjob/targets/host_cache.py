"""The cache of inputs and projects on a host: each content is sent once for all jobs; see remote/server/cache.sh."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import math
import re
from collections.abc import Iterator, Sequence

from luigi_sshjob.error_context import error_context, translate_local_file_errors
from luigi_sshjob.errors import RemoteCommandFailed
from luigi_sshjob.remote import quoting
from luigi_sshjob.retry import Retry
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.local.file_lock import FileLock, WaitLogger
from luigi_sshjob.ssh.shell.bounds import reading_response
from luigi_sshjob.ssh.shell.errors import SendRequests, send_one
from luigi_sshjob.ssh.shell.remote_shell import Response
from luigi_sshjob.targets.commands import FileCommands
from luigi_sshjob.targets.content import Content
from luigi_sshjob.targets.transfer import Upload
from luigi_sshjob.text import one_line

logger = logging.getLogger("luigi-interface")

_ENTRY = re.compile(r"^(?P<time>\d+) (?P<name>[0-9a-f]{64}[\w.]*)(?:/used)?$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class CacheEntry:
    """One content on a host."""

    name: str
    unused_for: float
    """Seconds since a job got it last, by the host's clock."""


class HostCache:
    """The cache below one base directory of a host."""

    def __init__(self, connection: Connection, base_dir: str):
        self._connection = connection
        self._folder = f"{quoting.below_home(base_dir.rstrip('/') or '/')}/cache"
        self._base = quoting.directory_word(base_dir)

    def add(self, content: Content) -> None:
        """Sends a file or directory, unless the host has it; another process may be sending it.

        If the connection breaks, the transfer resumes where it stopped, within `unreachable_timeout`. Raises
        `FileMissing` or `LocalFileError` if it cannot be read or changes meanwhile, and `RemoteCommandFailed` or
        `ConnectionFailed` for errors of the host.
        """
        retry = Retry(self._connection.settings.unreachable_timeout)
        with (
            error_context(f"sending {content.title}", host=self._connection.host),
            translate_local_file_errors(),
            self._sending(content),
        ):
            prepared = retry.call(lambda: self._connection.request("cache_prepare", self._base, content.entry))
            if prepared.parts:
                self._send(content, retry)

    def entries(self, send: SendRequests) -> list[CacheEntry]:
        """All entries, by requests that `send` sends."""
        response = send_one(send, self._connection.host, "cache_list", self._base)
        with reading_response("cache_list", self._connection.host):
            (listed,) = response.parts
            now = int(listed.value)
            found = _ENTRY.finditer(quoting.decode(listed.content))
            return [CacheEntry(match["name"], max(0, now - int(match["time"]))) for match in found]

    def remove(self, names: Sequence[str], send: SendRequests) -> list[str]:
        """Removes entries that no job uses, with one request; returns their names."""
        response = send_one(send, self._connection.host, "cache_remove", self._base, *names)
        return [part.value for part in response.parts if part.kind == "removed"]

    @contextlib.contextmanager
    def _sending(self, content: Content) -> Iterator[None]:
        """Lets one process of this account send the content at a time."""
        transport = self._connection.transport
        name = hashlib.sha256(f"{transport.key}\0{self._folder}\0{content.entry}".encode()).hexdigest()[:32]
        lock = FileLock(transport.directory / f"send-{name}.lock")
        host = self._connection.host
        waiting = WaitLogger(lambda: f"{host}: waiting for another process that sends {one_line(content.title)}")
        lock.acquire(deadline=math.inf, waiting=waiting)
        try:
            yield
        finally:
            lock.release(remove=True)

    def _send(self, content: Content, retry: Retry) -> None:
        upload = Upload(
            FileCommands(self._connection), f"{self._folder}/{content.entry}", lambda *_: None, private=True
        )
        try:
            with content.source() as source:
                host, title = self._connection.host, one_line(content.title)
                logger.info("%s: sending %s (%s bytes)", host, title, source.size)
                upload.run(source)
                size = source.size
            try:
                retry.call(lambda: self._commit(content, upload.tmp_path, size, content.digest))
            except RemoteCommandFailed as error:
                if error.code != "no-checksum-program":
                    raise
                logger.warning(
                    "%s has no program for sha256: the copy of %s is compared by its POSIX cksum and size", host, title
                )
                cksum = content.cksum()
                retry.call(lambda: self._commit(content, upload.tmp_path, size, cksum))
        except BaseException:
            upload.discard()
            raise

    def _commit(self, content: Content, tmp_path: str, size: int, digest: str) -> Response:
        # a dedicated session: the host reads all of it
        words = self._base, content.entry, quoting.quote_path(tmp_path), size, digest
        return self._connection.request("cache_add", *words, dedicated_session=True)
