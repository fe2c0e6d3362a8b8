"""Client of the file functions on a host (remote/server/files.sh)."""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Sequence

from luigi_sshjob.error_context import error_context, no_such_file
from luigi_sshjob.errors import ParentDirectoryMissing, PathExists, PathIsNotDirectory, RemoteCommandFailed, SSHJobError
from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.shell.bounds import invalid, reading_response
from luigi_sshjob.ssh.shell.errors import refused
from luigi_sshjob.ssh.shell.remote_shell import Response

# Codes of refusals in remote/server/files.sh, with the error that Luigi expects.
ERRORS: dict[str, type[SSHJobError]] = {
    "exists": PathExists,
    "no-parent": ParentDirectoryMissing,
    "not-a-directory": PathIsNotDirectory,
}

# The action that an error names.
_DOING = {
    "fs_commit": "writing",
    "fs_copy": "copying",
    "fs_digest": "computing the checksum of",
    "fs_discard": "removing",
    "fs_exists": "looking for",
    "fs_glob": "looking for",
    "fs_isdir": "looking for",
    "fs_listdir": "listing",
    "fs_mkdir": "creating the directory",
    "fs_move": "moving",
    "fs_prepare": "creating the directory",
    "fs_remove": "removing",
    "fs_remove_file": "removing",
    "fs_rename_new": "renaming",
    "fs_stat": "reading the attributes of",
    "fs_tree_version": "reading the attributes of",
    "fs_version": "reading the attributes of",
}


@dataclasses.dataclass(frozen=True)
class FileStat:
    """Attributes of a file on a host; None where the host cannot report them."""

    size: int
    """In bytes."""
    mtime: int | None
    """In seconds since 1970."""
    mode: int | None
    """Permission bits."""
    sparse: bool
    version: str
    """Device, inode and time of the last change: differs when the file was replaced or written to."""

    @property
    def inode(self) -> str:
        """Device and inode: differs when the file was replaced."""
        return self.version.split()[0]


@dataclasses.dataclass(frozen=True)
class FileVersion:
    """What differs when a file or directory on a host has changed."""

    text: str
    """Times of the last change with all their digits, inode and size; a checksum of these for a directory."""
    settled: bool
    """The last change is older, by the host's clock, than the granularity of times: `text` will show the next one."""
    is_directory: bool


@dataclasses.dataclass(frozen=True)
class FileCommands:
    """Requests for files over one connection; they raise the errors that `RemoteFileSystem` documents."""

    connection: Connection

    def quote(self, path: str) -> quoting.Word:
        """Quotes a path. Raises `UnsafeValue` if it is invalid."""
        with error_context(host=self.connection.host):
            return quoting.quote_path(quoting.path_text(path))

    def test(self, verb: str, path: str) -> bool:
        """Whether a predicate of the host holds for `path`. Raises if the account may not know."""
        with error_context(f"{_DOING[verb]} {path}"):
            response = self.connection.request(verb, self.quote(path), check=False)
            if response.status > 1:
                raise refused(verb, response, self.connection.host)
            return response.status == 0

    def request(
        self,
        verb: str,
        *paths: str,
        options: tuple[str, ...] = (),
        idempotent: bool = True,
        dedicated_session: bool = False,
    ) -> Response:
        """Sends a request for `paths`; see `Connection.request`."""
        host = self.connection.host
        with error_context(f"{_DOING[verb]} {paths[0]}", host=host):
            words = (*map(self.quote, paths), *options)
            try:
                return self.connection.request(verb, *words, idempotent=idempotent, dedicated_session=dedicated_session)
            except RemoteCommandFailed as error:
                if error.code == "no-such-file":
                    raise no_such_file(paths[-1]) from None
                if error.code not in ERRORS:
                    raise
                kind = ERRORS[error.code]
                raise kind(error.problem, host=error.host, next_step=error.next_step, code=error.code) from None

    def exist(self, paths: Sequence[str]) -> tuple[list[str], RemoteCommandFailed | None]:
        """Returns yes, no, unknown or stuck for each path, and the error for the first that is stuck."""
        words = [self.quote(path) for path in paths]
        values: list[str] = []
        stuck: RemoteCommandFailed | None = None
        while len(values) < len(paths):
            response = self.connection.request("fs_exists_many", *words[len(values) :], check=False)
            answered = [part.value for part in response.parts if part.kind == "exists"][: len(paths) - len(values)]
            if not answered and response.status == 0:
                raise invalid(self.connection.host, "fs_exists_many", "no path is in it")
            if "stuck" in answered and not stuck:
                stuck = self._stuck(words[len(values) + answered.index("stuck")])
            values += answered
            if response.status != 0:
                if not response.refusal or response.refusal[0] != "path-not-responding":
                    raise refused("fs_exists_many", response, self.connection.host)
                # the host has stopped at this one; the others follow
                error = self._stuck(words[len(values)]) or refused("fs_exists_many", response, self.connection.host)
                stuck = stuck or error
                values.append("stuck")
        return values, stuck

    def _stuck(self, word: quoting.Word) -> RemoteCommandFailed | None:
        """Has the host find the directory that does not respond, which takes seconds, and returns its error."""
        response = self.connection.request("stuck_path", word, check=False)
        return refused("stuck_path", response, self.connection.host) if response.status != 0 else None

    def create_parent(self, path: str) -> None:
        """Creates the parent directory of `path`, and removes old temporary files from it."""
        self.quote(path)
        self.request("fs_prepare", posixpath.dirname(posixpath.normpath(quoting.path_text(path))) or ".")

    def stat(self, path: str) -> FileStat:
        """Returns the attributes of a file or directory. Raises `FileMissing`."""
        text = self.request("fs_stat", path).text
        with reading_response("fs_stat", self.connection.host):
            size, mtime, mode, blocks, version = text.split(maxsplit=4)
            if mtime == "-":
                return FileStat(int(size), None, None, False, version)
            return FileStat(int(size), int(mtime), int(mode, 8), int(blocks) * 512 < int(size), version)

    def version(self, path: str) -> FileVersion:
        """Returns the version of a file or directory. Raises `FileMissing`."""
        verb, text = "fs_version", self.request("fs_version", path).text
        is_directory = text == "directory"
        if is_directory:
            # a dedicated session: there may be many files in it
            verb, text = "fs_tree_version", self.request("fs_tree_version", path, dedicated_session=True).text
        with reading_response(verb, self.connection.host):
            age, version = text.split("\n", 1)
            return FileVersion(version, age == "settled", is_directory)

    def digest(self, path: str) -> str:
        """Returns the digest of a file with its kind: "sha256", or "cksum" on a host without a program for that."""
        # a dedicated session: large files take long
        return self.request("fs_digest", path, dedicated_session=True).text

    def check_sha256(self, path: str, digest: str) -> None:
        """Raises `RemoteCommandFailed` if the sha256 of the file is not `digest`."""
        # a dedicated session: large files take long
        text = self.connection.request("fs_sha256", self.quote(path), dedicated_session=True).text
        if digest not in text:
            raise RemoteCommandFailed(
                f"checksum mismatch after the copy: {path}: sha256 is {text[:64].strip()} on the host, {digest} here",
                host=self.connection.host,
                next_step="copy it again; if that does not help, check the disks and memory of both machines",
            )
