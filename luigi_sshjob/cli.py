"""`luigi-sshjob`: look at, follow and end jobs without knowing where they are kept."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from luigi_sshjob import config, doctor, worker
from luigi_sshjob.context import RemoteContext
from luigi_sshjob.control import JobControl
from luigi_sshjob.errors import JobNotFound, SSHJobError
from luigi_sshjob.job import JobRef, Observation
from luigi_sshjob.launchers import launcher_named
from luigi_sshjob.monitor import Monitor
from luigi_sshjob.patience import Patience


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 all went well, 1 the job did not, 2 wrong usage, 3 no answer or another error of ours."""
    given = sys.argv[1:] if argv is None else list(argv)
    if given[:1] == ["run"]:
        return _run(given[1:])
    arguments = _parser().parse_args(given)
    try:
        if arguments.run is doctor.run:
            return int(arguments.run(arguments))
        return int(arguments.run(_Door(arguments), arguments))
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
    parser = argparse.ArgumentParser(prog="luigi-sshjob run", add_help=False, allow_abbrev=False)
    parser.add_argument("--remote-jobs", type=int)
    ours, luigis = parser.parse_known_args(given)
    worker.run(luigis, ours.remote_jobs)
    return 0


class _Door:
    """What the subcommands need of a host."""

    def __init__(self, arguments: argparse.Namespace):
        settings = config.settings()
        self._host = arguments.host
        options = {name: getattr(arguments, name) for name in ("key_file", "no_host_key_check", "sshpass", "transport")}
        connection = RemoteContext(arguments.host, **options).connection
        launcher = launcher_named(settings.launcher)
        self.control = JobControl(connection, arguments.base_dir or settings.base_dir, launcher)
        self.grace = settings.kill_grace
        self.monitor = Monitor(
            self.control,
            Patience(settings.unreachable_timeout),
            poll_interval=settings.poll_interval,
            start_timeout=launcher.start_timeout,
            launches=launcher.launches,
        )

    def job(self, name: str) -> JobRef:
        """By KEY/ATTEMPT, or by KEY for the newest attempt."""
        key, _, attempt = name.rpartition("/") if "/" in name else (name, "", "")
        newest = self.control.latest(key)
        found = newest if newest and attempt in ("", str(newest.attempt)) else self._listed(key, attempt)
        if not found:
            raise JobNotFound(
                "there is no such job", host=self._host, job=name, next_step=f"look with `luigi-sshjob ls {self._host}`"
            )
        return found

    def _listed(self, key: str, attempt: str) -> JobRef | None:
        return next((job for job, _, _ in self.control.list() if job.id == f"{key}/{attempt}"), None)


def _ls(door: _Door, _: argparse.Namespace) -> int:
    jobs = list(door.control.list())
    outcomes = door.control.poll([(job, None) for job, _, _ in jobs])
    for (job, state, reason), observation in zip(jobs, outcomes, strict=True):
        print(f"{job.id}\t{observation.outcome or ' '.join(filter(None, (state.value, reason)))}")
    return 0


def _logs(door: _Door, arguments: argparse.Namespace) -> int:
    offset = 0
    job = door.job(arguments.job)

    def show(observation: Observation) -> None:
        nonlocal offset
        offset += len(observation.log)
        sys.stdout.buffer.write(observation.log)
        sys.stdout.buffer.flush()

    if arguments.follow:
        outcome = door.monitor.wait(job, show)
        print(f"{job.id} {outcome}", file=sys.stderr)
        return 0 if outcome.succeeded else 1
    while True:
        observation = door.control.poll([(job, offset)])[0]
        if not observation.log:
            return 0
        show(observation)


def _kill(door: _Door, arguments: argparse.Namespace) -> int:
    # all are found before any is ended
    for job in [door.job(name) for name in arguments.jobs]:
        print(f"{job.id} {door.monitor.cancel(job, door.grace)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="luigi-sshjob", description="Jobs of luigi_sshjob on a host.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[..., int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("host", metavar="HOST", help="an alias of ~/.ssh/config, or user@host:port")
        sub.add_argument("--key-file", help="as ssh -i")
        sub.add_argument("--no-host-key-check", action="store_true", help="take any host key")
        sub.add_argument("--sshpass", action="store_true", help="take the password from SSHPASS in the environment")
        sub.add_argument("--transport", help="how the host is reached, if not as in [sshjob]")
        sub.add_argument("--base-dir", help="where the jobs live on the host, if not as in [sshjob]")
        sub.set_defaults(run=run)
        return sub

    commands.add_parser(
        "run",
        help="as `luigi`, with all its options, and --remote-jobs N: so many are held at once without a process each",
    )
    command("ls", _ls, "list the jobs on a host with their state")
    logs = command("logs", _logs, "print the log of a job")
    logs.add_argument("job", metavar="JOB", help="TASK_ID/ATTEMPT, or TASK_ID for the newest attempt")
    logs.add_argument("-f", "--follow", action="store_true", help="until it has ended, then say how")
    kill = command("kill", _kill, "end jobs with all their processes")
    kill.add_argument("jobs", metavar="JOB", nargs="+", help="as for logs")
    checks = command("doctor", doctor.run, "look what stands in the way of jobs on a host, and say what helps")
    checks.add_argument("--json", action="store_true", help="print the findings for a script")
    return parser


if __name__ == "__main__":
    sys.exit(main())
