"""Where the demonstration runs: a host, the folder of local files, and the environment of its commands."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

EXAMPLES = Path(__file__).resolve().parents[1]
HOST_DIRECTORY = "luigi-sshjob-quickstart"
"""The directory of the pipeline in the home directory of the host."""

_CONFIGURATION = """\
[core]
log_level = INFO
# the default, /tmp/luigi, is shared by all accounts, and only the first can write to it
lock_pid_dir = {folder}/lock

[Report]
result = {folder}/result.txt

# by default Luigi exits with 0 after a failure
[retcode]
already_running = 10
missing_data = 20
not_run = 25
task_failed = 30
scheduling_error = 35
unhandled_exception = 40

[sshjob]
{settings}
"""


@dataclass(frozen=True)
class Place:
    """The host and the local folder; `find_jobs` are options that `luigi-sshjob` needs to find the jobs."""

    host: str
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
        return self.folder / "result.txt"

    def ls(self, *options: str) -> list[str]:
        """The command that lists the jobs."""
        return ["luigi-sshjob", "ls", self.host, *self.find_jobs, *options]

    def pipeline(self, options: list[str]) -> list[str]:
        """The command that runs the pipeline."""
        command = ["luigi", "--module", "quickstart", "Report", "--host", self.host, "--local-scheduler"]
        return [*command, "--workers", "3", *options]


def clean_environment() -> dict[str, str]:
    """The environment without Luigi's configuration, and with the programs and modules of this checkout."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LUIGI_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**inherited, "PATH": path, "PYTHONPATH": str(EXAMPLES)}


def throwaway_place(folder: Path, settings: Mapping[str, str]) -> Place:
    """The place of a throwaway host, with its files in `folder`."""
    variables = _write(folder, settings)
    # not in the list of the user's hosts, because this one is removed
    variables["XDG_STATE_HOME"] = str(folder / "state")
    path = f"{shlex.quote(str(Path(sys.executable).parent))}:$PATH"
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    (folder / "env").write_text("\n".join([*lines, f"export PATH={path}"]) + "\n")
    return Place("demo", folder, {**clean_environment(), **variables}, folder)


@contextlib.contextmanager
def users_place(host: str) -> Iterator[Place]:
    """The place of a host of the user."""
    # not $TMPDIR, because the path of a control socket is limited to 104 bytes
    folder = Path(tempfile.mkdtemp(prefix="sshjob.", dir="/tmp"))
    try:
        variables = _write(folder, {"runtime_dir": f"{folder}/run"})
        find_jobs = ("--base-dir", f"~/{HOST_DIRECTORY}/.luigi-sshjob")
        place = Place(host, folder, {**clean_environment(), **variables}, Path.cwd(), find_jobs)
        try:
            yield place
        finally:
            _log_out(place)
    finally:
        rmtree(folder)


def _log_out(place: Place) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            ["luigi-sshjob", "logout", place.host],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=place.environment,
            cwd=place.directory,
            start_new_session=True,
            timeout=30,
            check=False,
        )


def _write(folder: Path, settings: Mapping[str, str]) -> dict[str, str]:
    path = folder / "quickstart.cfg"
    lines = "\n".join(f"{name} = {value}" for name, value in settings.items())
    path.write_text(_CONFIGURATION.format(folder=folder, settings=lines))
    return {"LUIGI_CONFIG_PATH": str(path), "PYTHONPATH": str(EXAMPLES)}
