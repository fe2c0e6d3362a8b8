"""Errors of requests that failed on the host, and next steps by the code of a refusal (`refuse` in remote/*.sh)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from luigi_sshjob.errors import RemoteCommandFailed
from luigi_sshjob.ssh.shell.remote_shell import Response, request_text

_OWN = "make it a directory that the account owns and can write, or change base_dir"

NEXT_STEPS = {
    "attempt-still-running": "end it with `luigi-sshjob kill`, then run the task again",
    "bad-supply": "ask the administrator of the host to correct the file",
    "checksum-mismatch": "copy it again; if that does not help, check the disks and memory of both machines",
    "directory-not-checked": "check that `find` works on the host, then try again",
    "directory-not-created": _OWN,
    "directory-not-searchable": "grant the account search permission (chmod +x), or use another account",
    "directory-not-writable": _OWN,
    "exists": "remove it first, or use another path",
    "foreign-directory": _OWN,
    "incomplete-file": "copy it again; if that does not help, check the disk and other programs that write there",
    "is-a-directory": "use recursive=True to remove it with its content",
    "job-can-be-ended": "end it with `luigi-sshjob kill`",
    "job-not-collected": "nothing was removed; cancel the job, or run its task, first",
    "link-in-base": "set base_dir to the directory itself, or replace the link by a directory of the account",
    "mark-not-written": "free disk space on the host, then run the task again",
    "no-checksum-program": "install one on the host, or omit checksum",
    "no-flock": "install util-linux or busybox on the host, or run tasks without slots",
    "no-log": "none: the log was removed, by cleanup or by a person",
    "no-parent": "create it first, or set parents",
    "no-such-file": "correct the path, or create the file first",
    "not-a-directory": "remove it first, or use another path",
    "not-a-job-directory": "nothing was removed; check what is at that path",
    "not-replaced": "remove what is at the path, or use a path that the account may write; nothing was changed",
    "not-extracted": "check that the host has tar and enough free disk space, then run it again",
    "not-listed": "grant the account the permission that the message names, or list another directory",
    "path-not-responding": "check the mount on the host (its server, the network); it is asked again when it responds",
    "not-verified": "set the clock of the host, or use a base_dir on another file system, then run it again",
    "outputs-not-removed": "make the directories of the outputs reachable and writable, then try again",
    "record-not-written": "make the directory readable and writable, with free space, then try again",
    "scripts-not-installed": _OWN,
    "writable-by-others": "check what others may have put there, then run `chmod -R go-w` on it, or change base_dir",
}


SendRequests = Callable[[Sequence[str]], list[Response]]
"""Sends several requests at once, see `Connection.dedicated_shell`."""


def send_one(send: SendRequests, host: str, verb: str, *words: str | int) -> Response:
    """Sends one request through `send`. Raises `RemoteCommandFailed` if it failed on the host."""
    (response,) = send([request_text(verb, *words)])
    if response.status != 0:
        raise refused(verb, response, host)
    return response


def refused(verb: str, response: Response, host: str) -> RemoteCommandFailed:
    """Return the error for a response with a status other than 0; without a refusal its text is their output."""
    refusal = response.refusal
    output = response.text.strip() or f"{verb} ended with status {response.status}"
    code = refusal[0] if refusal else ""
    return RemoteCommandFailed(
        refusal[1] if refusal else f"the host reported an error: {output}",
        host=host,
        returncode=response.status,
        cmd=verb,
        output=response.output,
        next_step=NEXT_STEPS.get(code, "fix what the message names (path, permissions, disk space), and try again"),
        code=code,
    )
