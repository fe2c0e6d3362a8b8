"""What the host answers when it does not do what it is asked: what `refuse` says in remote/*.sh, and next steps."""

from __future__ import annotations

from luigi_sshjob.errors import RemoteCommandFailed
from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.shell.remote_shell import Response

_OWN = "make it a directory that the account owns and can write, or set base_dir to another"

# How a refusal begins -> what to do about it.
_NEXT_STEPS = {
    "a directory belongs to another account": _OWN,
    "the scripts of luigi_sshjob cannot be put in their place": _OWN,
    "the job directory cannot be put in its place": _OWN,
    "the job directory cannot be written in": _OWN,
    "processes of an attempt still run, whose directory was deleted": "end them on the host; then run the task again",
    "the scheduler may still have an attempt whose directory was deleted": "end that job there, then run the task",
    "the mark of a collected outcome cannot be written in": "make room there; then run the task again",
    "this is no directory of a job": "nothing was removed: see what stands there in the place of the job directory",
    "the job has not ended or was not collected": "nothing was removed: end the job, or run its task, before",
    "there is no log in the job directory any more": "cleanup has removed it, or somebody else",
    "a directory may not be searched": "give the account the right to search it (chmod +x), or use another account",
    "it is a directory": "give recursive=True to remove it with all that is in it",
    "the file is not whole there": "copy it again; should it stay so, look for who else writes there, and for room",
    "the host has no sha256sum, shasum or openssl that could read the file": "install one there, or leave checksum out",
}


def refused(verb: str, answer: Response, host: str) -> RemoteCommandFailed:
    """The error for an answer that says no to `verb`. What it does not say by itself comes from programs there."""
    words = answer.text.strip()
    # anything may print a line before, the dynamic linker for one
    own = [line for line in words.splitlines() if any(line.startswith(beginning) for beginning in _NEXT_STEPS)]
    next_step = next((step for beginning, step in _NEXT_STEPS.items() if own and own[-1].startswith(beginning)), "")
    return RemoteCommandFailed(
        own[-1] if own else f"the host could not do it: {words or f'{verb} ended with status {answer.status}'}",
        host=host,
        returncode=answer.status,
        cmd=verb,
        output=answer.output,
        next_step=next_step or "correct what the host names (path, permissions, room), and do it again",
    )


def said(error: RemoteCommandFailed) -> str:
    """The host's own words; some are for us."""
    return quoting.decode(error.output or b"").strip()
