"""The `luigi-sshjob` command: list, follow and end jobs, without knowing where they are stored."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from luigi_sshjob import config, worker
from luigi_sshjob.cli.commands.completion import complete
from luigi_sshjob.cli.parser import add_run_options, create_parser
from luigi_sshjob.errors import SSHJobError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status, see `help_text.EXIT_STATUS`."""
    words = sys.argv[1:] if argv is None else list(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a log may contain characters that the locale lacks
        sys.stdout.reconfigure(errors="replace")
    try:
        if words[:1] == ["run"] and words[1:] not in (["-h"], ["--help"]):
            return _run_luigi(words[1:])
        parser = create_parser()
        complete(parser)
        if not words:
            parser.print_help(sys.stderr)
            return 2
        arguments = parser.parse_args(words)
        status = int(arguments.run(arguments))
        # not at exit, where a closed pipe would be an error
        sys.stdout.flush()
        return status
    except SSHJobError as error:
        print(f"luigi-sshjob: {error}", file=sys.stderr)
        return 3
    except BrokenPipeError:
        # the reader has closed the pipe, to which the interpreter would flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _run_luigi(words: Sequence[str]) -> int:
    # the other options belong to Luigi and the user's tasks: an abbreviation could be one of them
    parser = argparse.ArgumentParser(prog="luigi-sshjob run", add_help=False, allow_abbrev=False)
    add_run_options(parser)
    arguments, luigi_words = parser.parse_known_args(words)
    # Luigi would print an error in the settings as a traceback
    config.get_settings()
    worker.run(luigi_words, arguments.remote_jobs)
    return 0
