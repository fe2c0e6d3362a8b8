"""The options and help of `luigi-sshjob`."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable, Sequence
from typing import Any

import luigi

import luigi_sshjob
from luigi_sshjob.cli.arguments import (
    ALL_RECENT,
    add_connection_options,
    add_host,
    add_jobs,
    add_json_option,
    count,
    duration,
    states,
)
from luigi_sshjob.cli.commands import collect, completion, connections, doctor, gc, kill, logs, ls, show, slots
from luigi_sshjob.cli.help_text import EXAMPLES, EXIT_STATUS, EXIT_STATUS_OF_ALL, HOST, HOST_AND_JOB, LUIGI
from luigi_sshjob.cli.states import SORTS, STATES

Run = Callable[[argparse.Namespace], int]


def create_parser() -> argparse.ArgumentParser:
    """Create the parser of the command and its subcommands."""
    parser = _Parser(
        prog="luigi-sshjob",
        description="Manage jobs of luigi_sshjob on their hosts.",
        examples=EXAMPLES["luigi-sshjob"],
        notes=HOST_AND_JOB + EXIT_STATUS_OF_ALL,
    )
    python = platform.python_version()
    version = f"%(prog)s {luigi_sshjob.__version__} (Luigi {luigi.__version__}, Python {python})"
    parser.add_argument("--version", action="version", version=version, help="print the versions")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def command(name: str, run: Run | None, text: str, notes: str = HOST_AND_JOB + EXIT_STATUS) -> _Parser:
        description = f"{text[0].upper()}{text[1:]}."
        sub: _Parser = commands.add_parser(
            name, help=text, description=description, examples=EXAMPLES[name], notes=notes
        )
        sub.set_defaults(run=run)
        return sub

    of_host = HOST + EXIT_STATUS
    _add_ls(command("ls", ls.run, "list attempts with state, progress and last log line", of_host))
    _add_logs(command("logs", logs.run, "print the log of a job, byte for byte"))
    show_parser = command("show", show.run, "show all details of a job, and the next steps")
    show_parser.set_defaults(most_words=2)
    add_jobs(show_parser)
    add_connection_options(show_parser)
    add_json_option(show_parser, "an object")
    text = "end jobs with all their processes, and wait until they have ended"
    _add_several(command("kill", kill.run, text))
    text = "mark ended jobs as handled, so that the next run starts a new attempt"
    _add_several(command("collect", collect.collect, text))
    text = "remove ended jobs from the host and from listings; published outputs are kept"
    forget = _add_several(command("forget", collect.forget, text))
    forget.add_argument(
        "--lost",
        action="store_true",
        help="also give up jobs that are elsewhere or unknown; a job that still runs is not ended, and keeps its files",
    )
    _add_gc(
        command("gc", gc.run, "remove collected attempts and unused local copies; published outputs are kept", of_host)
    )
    doctor_parser = command("doctor", doctor.run, "check whether a host can run jobs, and suggest fixes", of_host)
    add_host(doctor_parser)
    add_connection_options(doctor_parser)
    add_json_option(doctor_parser, "an object")
    slots_parser = command("slots", slots.run, "show who has the slots of a host, and who waits for them", of_host)
    add_host(slots_parser)
    add_connection_options(slots_parser)
    add_json_option(slots_parser, "an object")
    _add_login(command("login", connections.login, "open the shared connection to a host, with prompts here", of_host))
    logout = command(
        "logout", connections.logout, "close the shared connection to a host; its jobs keep running", of_host
    )
    add_host(logout)
    add_connection_options(logout)
    connections_parser = command("connections", connections.connections, "list the open connections", EXIT_STATUS)
    add_json_option(connections_parser, "a list of objects; times in seconds")
    text = "print the script that completes words in a shell"
    completion_parser = command("completion", completion.run, text, EXIT_STATUS)
    completion_parser.add_argument("shell", choices=completion.SHELLS, help="the shell that runs the script")
    text = "run `luigi` with all its options, and hundreds of jobs without a process each"
    run_parser = command("run", None, text, LUIGI)
    add_run_options(run_parser)
    # Luigi parses them; completed with local files
    run_parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser with examples and notes below its options, and with options also between the words of `[HOST] JOB`."""

    def __init__(self, *, examples: Sequence[str], notes: str, **options: Any):
        self.examples = examples
        self.notes = notes
        lines = "".join(f"  {line}\n" for line in examples)
        options["formatter_class"] = argparse.RawDescriptionHelpFormatter
        super().__init__(epilog=f"examples:\n{lines}\n{notes}", **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, rest = super().parse_known_args(args, namespace)
        words = getattr(found, "words", None)
        if words is not None:
            # argparse assigns no word after an option to an argument that it has already assigned
            words += [word for word in rest if not word.startswith("-")]
            rest = [word for word in rest if word.startswith("-")]
            if len(words) > getattr(found, "most_words", len(words)):
                self.error(f"expected [HOST] JOB, not {' '.join(words)}")
        return found, rest


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `run` that are not Luigi's."""
    parser.add_argument(
        "--remote-jobs",
        type=int,
        metavar="N",
        help="jobs at the same time, without a process each, in addition to the local tasks of --workers "
        "(default: the setting remote_jobs)",
    )


def _add_ls(parser: argparse.ArgumentParser) -> None:
    add_host(parser, name="hosts", nargs="*", help=ALL_RECENT)
    add_connection_options(parser)
    parser.add_argument(
        "-a",
        "--all",
        action="store_true",
        help="also list forgotten jobs, and those collected more than a day ago",
    )
    parser.add_argument(
        "-s",
        "--state",
        type=states,
        action="extend",
        metavar="STATE",
        help=f"only jobs in these states, separated by commas: {', '.join(STATES)}",
    ).completer = lambda **_: STATES  # type: ignore[attr-defined]
    parser.add_argument(
        "--sort",
        choices=SORTS,
        default="state",
        help="state (default): failures first, then active jobs; age: the last change first; job and host: by name",
    )
    parser.add_argument(
        "-l",
        "--limit",
        type=count,
        default=200,
        metavar="N",
        help="at most N attempts of a host: in turn one that ended and one that did not, then older ones (default 200; "
        "0: all)",
    )
    parser.add_argument(
        "--skip", type=count, default=0, metavar="N", help="leave out the first N attempts of a host: the next page"
    )
    parser.add_argument("-w", "--watch", action="store_true", help="on a terminal: refresh in place until Ctrl-C")
    parser.add_argument("--interval", type=duration, default=2.0, metavar="TIME", help="refresh interval (default 2s)")
    add_json_option(parser, "a list of objects; times in seconds")


def _add_logs(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(most_words=2)
    add_jobs(parser)
    add_connection_options(parser)
    parser.add_argument(
        "-f", "--follow", action="store_true", help="follow the log until the job ends; print its outcome on stderr"
    )
    parser.add_argument("-n", "--tail", type=count, metavar="N", help="print only the last N lines, and new ones")


def _add_several(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    add_jobs(parser, nargs="+")
    add_connection_options(parser)
    return parser


def _add_gc(parser: argparse.ArgumentParser) -> None:
    add_host(parser)
    add_connection_options(parser)
    parser.add_argument(
        "--older-than",
        type=duration,
        default=14 * 86400.0,
        metavar="TIME",
        help="minimum time since they were collected or used: 90m, 36h, 14d (default), 8w",
    )
    parser.add_argument("-n", "--dry-run", action="store_true", help="only print what would be removed")
    add_json_option(parser, "a list of the ids")


def _add_login(parser: argparse.ArgumentParser) -> None:
    add_host(parser)
    add_connection_options(parser)
    parser.add_argument(
        "--keep",
        type=duration,
        default=12 * 3600.0,
        metavar="TIME",
        help="how long to keep the connection after its last use (default 12h)",
    )
