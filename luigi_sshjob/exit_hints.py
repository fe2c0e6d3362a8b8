"""What helps if a shell could not run a program."""

from __future__ import annotations

# exit statuses of POSIX shells; programs seldom end with them on their own account
_OF_COMMANDS = {
    126: "make the program on the host executable for the account: chmod +x, a file system that is not mounted noexec, "
    "a program that was built for this kind of machine",
    127: "install the program on the host, or use its full path: the PATH of a non-interactive shell usually lacks "
    "what ~/.profile adds",
}
_OF_JOBS = {
    126: "; if the log names the working directory, correct `working_directory`",
    127: "; or set PATH in `environment`; or load it with `setup` or `modules`",
}


def hint_for_command(exit_status: int) -> str:
    """The next step for a command that ended so; empty if the status says nothing about it."""
    return _OF_COMMANDS.get(exit_status, "")


def hint_for_job(exit_code: int) -> str:
    """The same for a job, which has an environment and an interpreter of its own."""
    return _OF_COMMANDS.get(exit_code, "") + _OF_JOBS.get(exit_code, "")
