"""The verbs on files (remote/files.sh), and what their answers mean to a user of Luigi."""

from __future__ import annotations

import posixpath

from luigi.target import FileAlreadyExists, MissingParentDirectory, NotADirectory

from luigi_sshjob import shell
from luigi_sshjob.errors import RemoteCommandFailed, UnsafeValue
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.remote_shell import Answer

# What the host's functions answer (remote/files.sh) -> what Luigi raises.
_REFUSALS = {
    "exists": FileAlreadyExists,
    "no-parent": MissingParentDirectory,
    "not-a-directory": NotADirectory,
}


class FileVerbs:
    """Asked on one connection; raise as `RemoteFileSystem` does."""

    def __init__(self, connection: Connection):
        self.connection = connection

    def prepare(self, path: str) -> None:
        folder = posixpath.dirname(posixpath.normpath(str(path))) or "."
        self.check("fs_prepare", folder)

    def quoted(self, path: str) -> shell.Word:
        try:
            return shell.quote_path(str(path))
        except UnsafeValue as error:
            error.host = self.connection.host
            raise

    def says(self, verb: str, path: str) -> bool:
        answer = self.connection.call(verb, self.quoted(path))
        if answer.status > 1:
            raise self.connection.refusal(verb, answer)
        return answer.status == 0

    def check(
        self, verb: str, *paths: str, more: tuple[str, ...] = (), repeatable: bool = True, bounded: bool = True
    ) -> Answer:
        words = (*map(self.quoted, paths), *more)
        try:
            return self.connection.check(verb, *words, repeatable=repeatable, bounded=bounded)
        except RemoteCommandFailed as error:
            refusal = _REFUSALS.get(error.problem)
            if refusal:
                raise refusal(f"{paths[-1]} on {self.connection.host}: {error.problem}") from None
            raise
