"""The demonstration of examples/quickstart.sh, which installs what this needs."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys

from rich.console import Console

import interrupts
import throwaway
from command import typed
from luigi_run import Jobs, list_jobs
from pipeline import MIXED, QUICKSTART
from place import HOST_DIRECTORY, Place, clean_environment, throwaway_place, users_place
from story import PipelineFailed, Story

PROGRAM = "examples/quickstart.sh"


def main() -> int:
    """Return the exit status."""
    interrupts.defer()
    arguments, options = _arguments(sys.argv[1:])
    # lines of any length if this is not a terminal
    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=1 << 16)
    try:
        if arguments.stop:
            return _stop()
        if arguments.host:
            return _on_users_host(console, arguments.host, options)
        return _on_throwaway_hosts(console, options, mixed=arguments.mixed, keep=arguments.keep)
    except interrupts.Interrupted as error:
        # the terminal may be closed
        with contextlib.suppress(OSError):
            _line(f"\nInterrupted. {_after_interruption(arguments)}")
        return error.exit_status
    except PipelineFailed as error:
        return error.exit_status
    except (throwaway.NoHost, OSError) as error:
        with contextlib.suppress(OSError):
            print(f"quickstart: {error}", file=sys.stderr, flush=True)
        # a closed terminal is a signal and an error
        return interrupts.exit_status(otherwise=1)


def _arguments(words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    own, options = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    parser = argparse.ArgumentParser(PROGRAM)
    parser.add_argument("host", nargs="?")
    for option in ("--mixed", "--keep", "--stop"):
        parser.add_argument(option, action="store_true")
    return parser.parse_args(own), options


def _on_throwaway_hosts(console: Console, options: list[str], *, mixed: bool, keep: bool) -> int:
    if keep and throwaway.is_kept():
        raise throwaway.NoHost(
            f"a host is kept already: use it as that run has said, or remove it with: {PROGRAM} --stop"
        )
    pipeline = MIXED if mixed else QUICKSTART
    with throwaway.ThrowawayHosts(clean_environment(), len(pipeline.host_options)) as hosts:
        place = throwaway_place(pipeline, hosts.all)
        for name in place.hosts:
            _line(f"The host `{name}` is an sshd of its own on this machine. Its jobs run as you.")
        _line(f"Luigi's log is {place.log}.")
        Story(console, place, options).tell()
        jobs, logins = list_jobs(place), sum(host.accepted_logins() for host in hosts.all)
        _line(f"\n{_attempts(jobs)}; logins that sshd accepted for all of it: {logins}")
        if keep:
            hosts.keep()
            _explain_kept(place, hosts.all, jobs)
            return 0
    _line(f"{_these(place)} removed.\n")
    if mixed:
        _line(f"To keep it and try more:   {PROGRAM} --mixed --keep")
    else:
        _line(f"To keep it and try more:   {PROGRAM} --keep")
        _line(f"With local tasks as well:  {PROGRAM} --mixed")
        _line(f"The same on your host:     {PROGRAM} user@host")
    _line(f"The tasks of the pipeline: examples/{pipeline.module}.py")
    return 0


def _on_users_host(console: Console, host: str, options: list[str]) -> int:
    with users_place(host) as place:
        _line(f"Luigi's log is {place.log}.")
        Story(console, place, options).tell()
        _line(f"\n{_attempts(list_jobs(place))}.")
        _line(f"Results and logs stay in ~/{HOST_DIRECTORY}; nothing else is left on {host}.")
        _line("To remove them, also to see all steps again:")
        _line(f"  {shlex.join(['ssh', host, 'rm', '-r', HOST_DIRECTORY])}")
        _line("The tasks of the pipeline: examples/quickstart.py")
    return 0


def _attempts(jobs: Jobs) -> str:
    """How often the jobs ran."""
    repeated = [job["job"] for job in jobs if job["attempt"] != 1]
    return f"{len(jobs)} jobs, " + (f"ran again: {', '.join(repeated)}" if repeated else "each ran once")


def _explain_kept(place: Place, hosts: list[throwaway.Host], jobs: Jobs) -> None:
    _line(f"\n{_these(place)} kept. To use {'them' if len(hosts) > 1 else 'it'}, in a new shell:")
    _line(f"  . {shlex.quote(str(place.folder / 'env'))}")
    for name, host in zip(place.hosts, hosts, strict=True):
        _line(f"  {shlex.join(['ssh', '-F', str(host.folder / 'ssh_config'), name])}")
    _line(f"  {shlex.join(place.ls())}")
    for job in jobs[-1:]:
        _line(f"  {shlex.join(['luigi-sshjob', 'logs', job['host'], job['job']])}")
    _line(f"  {typed(place.run(place.pipeline.another))}")
    _line("To remove what was kept:")
    _line(f"  {PROGRAM} --stop")


def _these(place: Place) -> str:
    return "Both hosts are" if len(place.hosts) > 1 else "The host is"


def _stop() -> int:
    if not throwaway.is_kept():
        _line("Nothing was kept.")
        return 0
    throwaway.stop_kept()
    _line("What was kept is removed.")
    return 0


def _after_interruption(arguments: argparse.Namespace) -> str:
    if arguments.host:
        return f"Jobs on {arguments.host} go on; run this again and Luigi attaches to them."
    return "What was kept is being removed." if arguments.stop else "Everything that this run created is removed."


def _line(text: str = "") -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
