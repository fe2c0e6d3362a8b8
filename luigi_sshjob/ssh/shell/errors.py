"""Errors of requests that failed on the host, and next steps by the code of a refusal (`refuse` in remote/*.sh)."""

from __future__ import annotations

from luigi_sshjob.errors import RemoteCommandFailed
from luigi_sshjob.ssh.shell.remote_shell import Response

_OWN = "make it a directory that the account owns and can write, or set base_dir to another"

NEXT_STEPS = {
    "attempt-still-running": "end them on the host; then run the task again",
    "attempt-still-scheduled": "end that job there, then run the task",
    "directory-not-created": _OWN,
    "directory-not-searchable": "give the account the right to search it (chmod +x), or use another account",
    "directory-not-writable": _OWN,
    "exists": "remove it first, or use another path",
    "foreign-directory": _OWN,
    "incomplete-file": "copy it again; should it stay so, look for who else writes there, and for room",
    "is-a-directory": "give recursive=True to remove it with all that is in it",
    "job-not-collected": "nothing was removed: end the job, or run its task, before",
    "mark-not-written": "make room there; then run the task again",
    "no-checksum-program": "install one there, or leave checksum out",
    "no-log": "cleanup has removed it, or somebody else",
    "no-parent": "create it first, or set parents",
    "no-such-file": "correct the path, or create the file first",
    "not-a-directory": "remove it first, or use another path",
    "not-a-job-directory": "nothing was removed: see what is in the place of the job directory",
    "scripts-not-installed": _OWN,
}


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
        next_step=NEXT_STEPS.get(code, "correct what the host names (path, permissions, room), and do it again"),
        code=code,
    )
