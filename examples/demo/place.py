"""Where the demonstration runs: its hosts, the folder of local files, and the environment of its commands."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from pipeline import QUICKSTART, Pipeline
from throwaway import Host

EXAMPLES = Path(__file__).resolve().parents[1]
HOST_DIRECTORY = "luigi-sshjob-quickstart"
"""The directory of the pipeline in the home directory of the host."""

_CONFIGURATION = """\
[core]
log_level = INFO
# the default, /tmp/luigi, is shared by all accounts, and only the first can write to it
lock_pid_dir = {folder}/lock

[Report]
{option} = {folder}/{files}

# by default Luigi exits with 0 after a failure
[retcode]
already_running = 10
missing_data = 20
not_run = 25
task_failed = 30
scheduling_error = 35
unhandled_exception = 40
"""
_NAMES = ("demo", "other")


@dataclass(frozen=True)
class Place:
    """The hosts and the local folder; `find_jobs` are options that `luigi-sshjob` needs to find the jobs."""

    pipeline: Pipeline
    hosts: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]
    directory: Path
    """The current directory of the commands, whose luigi.cfg applies."""
    find_jobs: tuple[str, ...] = ()

    @property
    def log(self) -> Path:
        """Luigi's log."""
        return self.folder / "luigi.log"

    @property
    def result(self) -> Path:
        """The report of the pipeline."""
        return self.folder / self.pipeline.result

    def ls(self, *options: str) -> list[str]:
        """The command that lists the jobs."""
        return ["luigi-sshjob", "ls", *self.hosts, *self.find_jobs, *options]

    def run(self, options: Sequence[str]) -> list[str]:
        """The command that runs the pipeline."""
        return [*self.pipeline.command(self.hosts), *options]


def clean_environment() -> dict[str, str]:
    """The environment without Luigi's configuration, and with the programs and modules of this checkout."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LUIGI_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**inherited, "PATH": path, "PYTHONPATH": str(EXAMPLES)}


def throwaway_place(pipeline: Pipeline, hosts: Sequence[Host]) -> Place:
    """The place of throwaway hosts, with its files in the folder of the first."""
    folder, names = hosts[0].folder, _NAMES[: len(hosts)]
    sections = {"sshjob": hosts[0].settings}
    for name, host in zip(names[1:], hosts[1:], strict=True):
        # each other name leads to the first host; the other settings are the same
        sections[f"sshjob.{name}"] = {"ssh_config": host.settings["ssh_config"]}
    variables = _write(pipeline, folder, sections)
    # not in the user's list of hosts or next to the user's copies of files, because all of it is removed
    variables |= {f"XDG_{name}_HOME": str(folder / name.lower()) for name in ("STATE", "CACHE")}
    path = f"{shlex.quote(str(Path(sys.executable).parent))}:$PATH"
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    (folder / "env").write_text("\n".join([*lines, f"export PATH={path}"]) + "\n")
    return Place(pipeline, names, folder, {**clean_environment(), **variables}, folder)


@contextlib.contextmanager
def users_place(host: str) -> Iterator[Place]:
    """The place of a host of the user."""
    # not $TMPDIR, because the path of a control socket is limited to 104 bytes
    folder = Path(tempfile.mkdtemp(prefix="sshjob.", dir="/tmp"))
    try:
        variables = _write(QUICKSTART, folder, {"sshjob": {"runtime_dir": f"{folder}/run"}})
        find_jobs = ("--base-dir", f"~/{HOST_DIRECTORY}/.luigi-sshjob")
        place = Place(QUICKSTART, (host,), folder, {**clean_environment(), **variables}, Path.cwd(), find_jobs)
        try:
            yield place
        finally:
            _log_out(place)
    finally:
        rmtree(folder)


def _log_out(place: Place) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            ["luigi-sshjob", "logout", *place.hosts],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=place.environment,
            cwd=place.directory,
            start_new_session=True,
            timeout=30,
            check=False,
        )


def _write(pipeline: Pipeline, folder: Path, sections: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    path = folder / "quickstart.cfg"
    option, files = pipeline.output
    text = _CONFIGURATION.format(folder=folder, option=option, files=files)
    for section, settings in sections.items():
        lines = "\n".join(f"{name} = {value}" for name, value in settings.items())
        text += f"\n[{section}]\n{lines}\n"
    path.write_text(text)
    return {"LUIGI_CONFIG_PATH": str(path), "PYTHONPATH": str(EXAMPLES)}
