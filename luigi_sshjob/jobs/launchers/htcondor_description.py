"""The description of a job for condor_submit, made of submit commands: those of the task, and those of the package.

The names of commands and attributes are those of condor_submit(1) of HTCondor 23.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.launchers.base import LaunchOptions

_NAME = re.compile(r"(?:\+|my\.)?([a-z_][a-z0-9_]*)")
# what the package sets itself, what is no command, and what makes HTCondor run something else; as command or attribute
_RESERVED = re.compile(
    "arg(ument)?s|(job)?batchname|clusterid|cmd|copytospool|cron.*|elif|else|endif|err(or)?|executable|globaljobid|if"
    "|in|include|initialdir|input|isnoopjob|(job)?iwd|job(status|universe)"
    "|(job)?max(idle|materialize|retries|vacatetime)|(remove|hold)?killsig.*|leave(job)?inqueue|log|(job)?noop.*"
    "|num(job|shadow)starts|onexit.*|out(put)?|owner|procid|queue|remoteinitialdir|retryuntil|shouldtransferfiles"
    "|skipfilechecks|sshjob.*|std(in|out|err)|stream.*|(job)?successexitcode|transfer.*|universe|use"
    "|wantgracefulremoval|warning|whentotransferoutput"
)
_MACRO = re.compile(r"\$[A-Za-z_]*\(|\$\$\[")
_MARGIN = 10  # seconds for writing the exit record, after the grace

# A job that was evicted is not started again. `periodic_remove` alone would come too late, as it is evaluated once a
# minute. The number of starts may be out of date; then only the supervisor's claim prevents a second run.
_UNSTARTED = "(MY.NumJobStarts =?= undefined || MY.NumJobStarts == 0)"
EVICTED = "(NumJobStarts >= 1 && JobStatus == 1)"

# A job has a nearly empty environment. There is no LC_* here, because the commands have LC_ALL=C.
_DEFAULTS = {"getenv": "PATH, HOME, USER, LOGNAME, SHELL, LANG, TZ", "notification": "Never"}
_FIXED = {
    "universe": "vanilla",
    "executable": "/bin/sh",
    "transfer_executable": "False",
    "should_transfer_files": "NO",
    "output": "/dev/null",
    "error": "/dev/null",
    "want_graceful_removal": "True",
}
# Each line becomes a quoted argument, as "new syntax" of condor_submit(1) says, in which nothing is expanded.
_QUOTE = r"""command sed -e "s/'/''/g" -e 's/"/""/g' -e 's/\$/$(DOLLAR)/g' -e "s/.*/'&'/" """
# Each process of the cluster has a directory of its own as argument. The working directory is never removed, and
# HTCondor names it if a machine cannot see it.
# The first command prints the name of the schedd, and fails if there is none.
_LINES = r"""command condor_q -totals 0.0 && {
[ "$(command printf '%s\n' "$@" | command wc -l)" -eq $# ] || { echo 'newline in a path' >&2; exit 1; }
command printf '%s\n' {options} "batch_name = $name" "+SshjobName = \"$name@$tag\""
command printf 'initialdir = %s\n' "$base" | command sed 's/\$/$(DOLLAR)/g'
command printf 'arguments = "'
command printf '%s\n' "$1" "$2" "$3" "$4" "$5" "$6" "$7" | QUOTE | command tr '\n' ' '
command printf '$(directory)"\nqueue directory from (\n'
shift 7
command printf '%s\n' "$@" | QUOTE
command echo ')'; } | command condor_submit -terse -"""


SUBMIT = _LINES.replace("&& {\n", "&& { ").replace("\n", "; ").replace("QUOTE", _QUOTE)


def description(options: LaunchOptions) -> tuple[list[str], bool]:
    """Return lines of a description, and whether HTCondor may start the job again.

    Raises `ConfigurationError` for commands that would change what is run or where it is found.
    """
    if not isinstance(options.options, Mapping):
        raise _invalid(f"condor_options must be a dict: {options.options!r}", "give a dict of submit commands")
    given = {name: value for name, value in options.options.items() if value is not None}
    requeue = given.pop("requeue", False) is not False
    commands = dict(_DEFAULTS)
    for name, value in given.items():
        commands[_name(name)] = _text(name, value)
    if not requeue:
        for name, operator, ours in (("requirements", "&&", _UNSTARTED), ("periodic_remove", "||", EVICTED)):
            commands[name] = f"({commands[name]}) {operator} {ours}" if name in commands else ours
    commands |= {**_FIXED, "+SshjobRequeue": str(requeue)}
    commands["job_max_vacate_time"] = str(math.ceil(options.kill_grace + options.warning) + _MARGIN)
    return [f"{name} = {value}" for name, value in commands.items()], requeue


def _name(name: Any) -> str:
    command = name.lower() if isinstance(name, str) else ""
    match = _NAME.fullmatch(command)
    if not match:
        raise _invalid(f"invalid name of a submit command: {name!r}", 'write it as in a description: "request_cpus"')
    is_attribute, plain = command != match[1], match[1].replace("_", "")
    # the attribute would replace what is added to the command
    if _RESERVED.fullmatch(plain) or (is_attribute and plain in ("requirements", "periodicremove")):
        raise _invalid(
            f"this submit command cannot be set for a job: {name}",
            "leave it out: luigi_sshjob sets it itself, or HTCondor would not run the job as it is",
        )
    return str(name) if is_attribute else command


def _text(name: str, value: Any) -> str:
    if isinstance(value, timedelta):
        value = math.ceil(value.total_seconds())
    if not isinstance(value, (str, int, float)):
        raise _invalid(f"invalid value for a submit command: {name} {value!r}", "give a str, number, bool or timedelta")
    text = str(value)
    # a backslash at the end would join the next line
    if not text.strip() or not text.isprintable() or text.endswith("\\"):
        raise _invalid(f"invalid value for a submit command: {name} {text!r}", "give one line of text")
    if _MACRO.search(text):
        # its meaning would depend on the description, which is not the user's
        raise _invalid(f"a macro in a submit command: {name} {text!r}", "write the value itself")
    return text


def _invalid(problem: str, next_step: str) -> ConfigurationError:
    return ConfigurationError(problem, next_step=next_step)
