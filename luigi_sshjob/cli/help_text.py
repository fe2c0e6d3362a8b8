"""Texts of `luigi-sshjob --help`, in lines of at most 80 characters."""

from __future__ import annotations

_HOST = """\
HOST is the `host` of a task: an alias of ~/.ssh/config, or user@host:port.
"""

HOST = f"{_HOST}\n"

HOST_AND_JOB = f"""\
{_HOST}It may be left out if the job is on a host that was used in the last month.
JOB is TASK_ID/ATTEMPT, or TASK_ID for the newest attempt, as `luigi-sshjob ls`
prints them; the beginning of a TASK_ID will do if it is the only one.

"""

EXIT_STATUS = """\
exit status: 0 success; 1 the job did not succeed, or a check failed; 2 wrong
usage; 3 the host is unreachable, or another error that is explained, perhaps of
one of several jobs; 130 Ctrl-C"""

EXIT_STATUS_OF_ALL = f"{EXIT_STATUS}\n`luigi-sshjob run` exits as `luigi` does, see its section [retcode]"

LUIGI = """\
All other options are those of `luigi`: `luigi-sshjob run --help-all` lists
them, `luigi-sshjob run --module MODULE TASK --help` lists those of a task.

exit status: that of `luigi`, see its section [retcode]; 2 wrong usage; 3 an
invalid setting of luigi_sshjob"""

EXAMPLES = {
    "luigi-sshjob": [
        "luigi-sshjob run --module pipeline All --workers 4 --remote-jobs 500",
        "luigi-sshjob ls",
        "luigi-sshjob logs -f CountWords_moby",
    ],
    "ls": [
        "luigi-sshjob ls",
        "luigi-sshjob ls --state failed,lost --sort age",
        "luigi-sshjob ls gpu1 gpu2 --watch",
        "luigi-sshjob ls gpu1 --json | jq '.[].job'",
    ],
    "logs": [
        "luigi-sshjob logs CountWords_moby_0a1b2c3d4e/2 >log.txt",
        "luigi-sshjob logs -f --tail 20 gpu1 CountWords_moby",
    ],
    "show": [
        "luigi-sshjob show CountWords_moby_0a1b2c3d4e",
        "luigi-sshjob show --json gpu1 CountWords_moby_0a1b2c3d4e/1",
    ],
    "kill": [
        "luigi-sshjob kill CountWords_moby_0a1b2c3d4e",
        "luigi-sshjob kill gpu1 CountWords_moby CountWords_ulysses",
    ],
    "collect": ["luigi-sshjob collect CountWords_moby_0a1b2c3d4e"],
    "forget": [
        "luigi-sshjob forget gpu1 CountWords_moby_0a1b2c3d4e/1",
        "luigi-sshjob forget --lost CountWords_moby_0a1b2c3d4e/1",
    ],
    "gc": ["luigi-sshjob gc gpu1 --dry-run", "luigi-sshjob gc gpu1 --older-than 4w"],
    "doctor": ["luigi-sshjob doctor gpu1", "luigi-sshjob doctor user@cluster.example.org:2222 --json"],
    "slots": ["luigi-sshjob slots gpu1", "luigi-sshjob slots gpu1 --json | jq .resources"],
    "login": ["luigi-sshjob login cluster --keep 3d"],
    "logout": ["luigi-sshjob logout cluster"],
    "connections": ["luigi-sshjob connections"],
    "completion": [
        'eval "$(luigi-sshjob completion bash)"     # in ~/.bashrc',
        'eval "$(luigi-sshjob completion zsh)"      # in ~/.zshrc, after compinit',
        "luigi-sshjob completion fish | source      # in ~/.config/fish/config.fish",
    ],
    "run": [
        "luigi-sshjob run --module pipeline All --workers 4 --remote-jobs 500",
        "luigi-sshjob run --module pipeline All --help   # options of Luigi and All",
    ],
}
