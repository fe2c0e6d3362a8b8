"""What may be written behind `luigi-sshjob`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable

from luigi_sshjob.cli.commands import collect, doctor, gc, kill, logs, ls, show

EPILOG = """\
HOST is what the task's `host` says: an alias of ~/.ssh/config, or user@host:port. JOB is TASK_ID/ATTEMPT, or TASK_ID
for its newest attempt; `luigi-sshjob ls` prints them.

exit status: 0 all went well; 1 the job did not succeed, or something is not as it should be; 2 wrong usage; 3 the host
did not answer, or another error that is explained; 130 Ctrl-C"""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parser() -> argparse.ArgumentParser:
    """Of the whole command."""
    whole = _Parser(
        prog="luigi-sshjob", description="Jobs of luigi_sshjob, on the hosts where they run.", epilog=EPILOG
    )
    commands = whole.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str, hosts: str = "") -> _Parser:
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", epilog=EPILOG)
        sub.set_defaults(run=run)
        sub.add_argument(
            "hosts" if hosts else "host",
            metavar="HOST",
            nargs=hosts or None,
            help="default: those that jobs were submitted to in the last month" if hosts else "where the job is",
        )
        _ways(sub)
        return sub

    ls_parser = command("ls", ls.run, "list attempts with state, progress and last line of the log", hosts="*")
    ls_parser.add_argument(
        "-a", "--all", action="store_true", help="those, too, whose outcome was taken over a day ago or more"
    )
    ls_parser.add_argument("-w", "--watch", action="store_true", help="on a terminal: refresh in place until Ctrl-C")
    ls_parser.add_argument(
        "--interval", type=_duration, default=2.0, metavar="TIME", help="refresh interval (default 2s)"
    )
    _json(ls_parser, "a list of objects; times are seconds")

    log_parser = command("logs", logs.run, "print the log of a job, byte for byte")
    log_parser.add_argument("job", metavar="JOB")
    log_parser.add_argument(
        "-f", "--follow", action="store_true", help="until the job has ended; then say how, on standard error"
    )
    log_parser.add_argument("-n", "--tail", type=_count, metavar="N", help="only the last N lines, and new ones")

    show_parser = command("show", show.run, "show all that is known of a job, and what can be done next")
    show_parser.add_argument("job", metavar="JOB")
    _json(show_parser, "an object")

    kill_parser = command("kill", kill.kill, "end jobs with all their processes, and wait until they have ended")
    collect_parser = command(
        "collect",
        collect.collect,
        "take over how jobs ended, in place of their tasks: the next run is a new attempt",
    )
    forget_parser = command(
        "forget", collect.forget, "remove jobs that have ended from the host; what a task shows as output stays"
    )
    for sub in (kill_parser, collect_parser, forget_parser):
        sub.add_argument("jobs", metavar="JOB", nargs="+")

    gc_parser = command("gc", gc.run, "remove attempts that have ended and were collected; outputs of tasks stay")
    gc_parser.add_argument(
        "--older-than",
        type=_duration,
        default=14 * 86400.0,
        metavar="TIME",
        help="collected so long ago: 90m, 36h, 14d (default), 8w",
    )
    gc_parser.add_argument("-n", "--dry-run", action="store_true", help="only say what would be removed")
    _json(gc_parser, "a list of the ids")

    doctor_parser = command("doctor", doctor.run, "look what stands in the way of jobs on a host, and say what helps")
    _json(doctor_parser, "an object")

    # only for --help: its options are Luigi's, see `main`
    commands.add_parser(
        "run",
        help="as `luigi`, with all its options, and --remote-jobs N: so many are held at once without a process each",
    )
    return whole


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: object):
        options["formatter_class"] = argparse.RawDescriptionHelpFormatter
        super().__init__(**options)  # type: ignore[arg-type]


def _ways(sub: argparse.ArgumentParser) -> None:
    ways = sub.add_argument_group("how the host is reached, where it is not as in [sshjob] or when it was last used")
    ways.add_argument("--key-file", help="as ssh -i")
    ways.add_argument("--no-host-key-check", action="store_true", help="take any host key")
    ways.add_argument("--sshpass", action="store_true", help="take the password from SSHPASS in the environment")
    ways.add_argument("--transport", help="openssh or paramiko")
    ways.add_argument("--base-dir", help="where the jobs live on the host")


def _json(sub: argparse.ArgumentParser, text: str) -> None:
    sub.add_argument("--json", action="store_true", help=f"for programs: {text}")


def _duration(text: str) -> float:
    """Seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 90s, 30m, 36h, 14d or 8w")
    return float(match[1]) * _UNITS[match[2]]


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of lines")
    return int(text)
