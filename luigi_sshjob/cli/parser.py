"""The options and help of `luigi-sshjob`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable

from luigi_sshjob.cli.commands import collect, connections, doctor, gc, kill, logs, ls, show

EPILOG = """\
HOST is the `host` of a task: an alias of ~/.ssh/config, or user@host:port. JOB is TASK_ID/ATTEMPT, or TASK_ID for the
newest attempt, as `luigi-sshjob ls` prints them.

exit status: 0 success; 1 the job did not succeed, or a check failed; 2 wrong usage; 3 the host is unreachable, or
another error that is explained; 130 Ctrl-C"""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def create_parser() -> argparse.ArgumentParser:
    """Create the parser of the command and its subcommands."""
    parser = _Parser(prog="luigi-sshjob", description="Manage jobs of luigi_sshjob on their hosts.", epilog=EPILOG)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str, hosts: str = "") -> _Parser:
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", epilog=EPILOG)
        sub.set_defaults(run=run)
        sub.add_argument(
            "hosts" if hosts else "host",
            metavar="HOST",
            nargs=hosts or None,
            help="default: all hosts to which jobs were submitted in the last month" if hosts else "host of the job",
        )
        _add_connection_options(sub)
        return sub

    ls_parser = command("ls", ls.run, "list attempts with state, progress and last log line", hosts="*")
    ls_parser.add_argument("-a", "--all", action="store_true", help="also list jobs collected more than a day ago")
    ls_parser.add_argument(
        "-l",
        "--limit",
        type=_count,
        default=200,
        metavar="N",
        help="at most N attempts of a host: first those that have not ended, then the newest (default 200; 0: all)",
    )
    ls_parser.add_argument(
        "--skip", type=_count, default=0, metavar="N", help="leave out the first N attempts of a host: the next page"
    )
    ls_parser.add_argument("-w", "--watch", action="store_true", help="on a terminal: refresh in place until Ctrl-C")
    ls_parser.add_argument(
        "--interval", type=_duration, default=2.0, metavar="TIME", help="refresh interval (default 2s)"
    )
    _add_json_option(ls_parser, "a list of objects; times in seconds")

    log_parser = command("logs", logs.run, "print the log of a job, byte for byte")
    log_parser.add_argument("job", metavar="JOB")
    log_parser.add_argument(
        "-f", "--follow", action="store_true", help="follow the log until the job ends; print its outcome on stderr"
    )
    log_parser.add_argument("-n", "--tail", type=_count, metavar="N", help="print only the last N lines, and new ones")

    show_parser = command("show", show.run, "show all details of a job, and the next steps")
    show_parser.add_argument("job", metavar="JOB")
    _add_json_option(show_parser, "an object")

    kill_parser = command("kill", kill.run, "end jobs with all their processes, and wait until they have ended")
    collect_parser = command(
        "collect", collect.collect, "mark ended jobs as handled, so that the next run starts a new attempt"
    )
    forget_parser = command("forget", collect.forget, "remove ended jobs from the host; published outputs are kept")
    forget_parser.add_argument(
        "--lost",
        action="store_true",
        help="also give up jobs that are elsewhere or unknown; a job that still runs is not ended, and keeps its files",
    )
    for sub in (kill_parser, collect_parser, forget_parser):
        sub.add_argument("jobs", metavar="JOB", nargs="+")

    gc_parser = command("gc", gc.run, "remove collected attempts; published outputs are kept")
    gc_parser.add_argument(
        "--older-than",
        type=_duration,
        default=14 * 86400.0,
        metavar="TIME",
        help="minimum time since they were collected: 90m, 36h, 14d (default), 8w",
    )
    gc_parser.add_argument("-n", "--dry-run", action="store_true", help="only print what would be removed")
    _add_json_option(gc_parser, "a list of the ids")

    doctor_parser = command("doctor", doctor.run, "check whether a host can run jobs, and suggest fixes")
    _add_json_option(doctor_parser, "an object")

    login_parser = command("login", connections.login, "open the shared connection to a host, with prompts here")
    login_parser.add_argument(
        "--keep",
        type=_duration,
        default=12 * 3600.0,
        metavar="TIME",
        help="how long to keep the connection after its last use (default 12h)",
    )
    command("logout", connections.logout, "close the shared connection to a host; its jobs keep running")
    connections_parser = commands.add_parser(
        "connections", help="list the open connections", description="List the open connections.", epilog=EPILOG
    )
    connections_parser.set_defaults(run=connections.connections)
    _add_json_option(connections_parser, "a list of objects; times in seconds")

    # only for --help: `main` passes its options to Luigi
    commands.add_parser(
        "run", help="run `luigi` with all its options; --remote-jobs N: jobs at the same time, without a process each"
    )
    return parser


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: object):
        options["formatter_class"] = argparse.RawDescriptionHelpFormatter
        super().__init__(**options)  # type: ignore[arg-type]


def _add_connection_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("connection options (default: as in [sshjob], or at the last use of the host)")
    group.add_argument("--key-file", help="as ssh -i")
    group.add_argument("--no-host-key-check", action="store_true", help="accept any host key")
    group.add_argument("--sshpass", action="store_true", help="read the password from the environment variable SSHPASS")
    group.add_argument("--transport", help="openssh, paramiko or local")
    group.add_argument("--base-dir", help="directory on the host that holds the jobs")


def _add_json_option(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--json", action="store_true", help=f"print JSON: {text}")


def _duration(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if not match:
        raise argparse.ArgumentTypeError(f"invalid time: {text!r}; write 90s, 30m, 36h, 14d or 8w")
    return float(match[1]) * _UNITS[match[2]]


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"invalid number: {text!r}")
    return int(text)
