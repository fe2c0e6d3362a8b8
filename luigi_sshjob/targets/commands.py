"""The verbs on files (remote/server/files.sh), and what their answers mean to a user of Luigi."""

from __future__ import annotations

import posixpath

from luigi_sshjob.error_context import error_context
from luigi_sshjob.errors import ParentDirectoryMissing, PathExists, PathIsNotDirectory, RemoteCommandFailed, SSHJobError
from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.shell.errors import refused, said
from luigi_sshjob.ssh.shell.remote_shell import Response

# What the host's functions answer (remote/server/files.sh) -> what it means to a user of Luigi, and what to do.
_REFUSALS: dict[str, tuple[type[SSHJobError], str, str]] = {
    "exists": (PathExists, "there is something already", "remove it before, or use another path"),
    "no-parent": (ParentDirectoryMissing, "there is no directory to put it in", "make that, or set parents"),
    "not-a-directory": (
        PathIsNotDirectory,
        "a file stands where the directory should be",
        "remove it, or use another path",
    ),
}

# What is being done, in an error.
_DOING = {
    "fs_copy": "copying",
    "fs_exists": "looking for",
    "fs_glob": "looking for",
    "fs_isdir": "looking for",
    "fs_listdir": "listing",
    "fs_mkdir": "making the directory",
    "fs_move": "moving",
    "fs_prepare": "making the directory",
    "fs_remove": "removing",
    "fs_remove_file": "removing",
    "fs_rename_new": "renaming",
    "fs_stat": "looking at",
}


class FileCommands:
    """Asked on one connection; raise as `RemoteFileSystem` does."""

    def __init__(self, connection: Connection):
        self.connection = connection

    def prepare(self, path: str) -> None:
        self.quoted(path)
        folder = posixpath.dirname(posixpath.normpath(quoting.path_text(path))) or "."
        self.check("fs_prepare", folder)

    def quoted(self, path: str) -> quoting.Word:
        with error_context(host=self.connection.host):
            return quoting.quote_path(quoting.path_text(path))

    def says(self, verb: str, path: str) -> bool:
        with error_context(f"{_DOING[verb]} {path}"):
            answer = self.connection.request(verb, self.quoted(path), check=False)
            if answer.status > 1:
                raise refused(verb, answer, self.connection.host)
            return answer.status == 0

    def check(
        self,
        verb: str,
        *paths: str,
        more: tuple[str, ...] = (),
        idempotent: bool = True,
        dedicated_session: bool = False,
    ) -> Response:
        with error_context(f"{_DOING[verb]} {paths[0]}"):
            words = (*map(self.quoted, paths), *more)
            try:
                return self.connection.request(verb, *words, idempotent=idempotent, dedicated_session=dedicated_session)
            except RemoteCommandFailed as error:
                kind, problem, next_step = _REFUSALS.get(said(error), (None, "", ""))
                if kind:
                    host = self.connection.host
                    raise kind(f"{problem}: {paths[-1]}", host=host, next_step=next_step) from None
                raise
