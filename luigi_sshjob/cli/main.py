"""`luigi-sshjob`: look at, follow and end jobs without knowing where they are kept."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from luigi_sshjob import config, worker
from luigi_sshjob.cli.parser import parser
from luigi_sshjob.errors import SSHJobError


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status, see `options.EPILOG`."""
    given = sys.argv[1:] if argv is None else list(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a log has letters that not every locale has
        sys.stdout.reconfigure(errors="replace")
    try:
        if given[:1] == ["run"]:
            return _run(given[1:])
        arguments = parser().parse_args(given)
        status = int(arguments.run(arguments))
        # here, not at exit, where a reader that has gone would be an error
        sys.stdout.flush()
        return status
    except SSHJobError as error:
        print(f"luigi-sshjob: {error}", file=sys.stderr)
        return 3
    except BrokenPipeError:
        # whoever read our output has had enough; nothing may be flushed there at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _run(given: Sequence[str]) -> int:
    # the options are Luigi's and those of the user's tasks: none is to be known here, or taken for an abbreviation
    ours = argparse.ArgumentParser(prog="luigi-sshjob run", add_help=False, allow_abbrev=False)
    ours.add_argument("--remote-jobs", type=int)
    found, luigis = ours.parse_known_args(given)
    # Luigi would tell an error in them as a traceback
    config.get_settings()
    worker.run(luigis, found.remote_jobs)
    return 0
