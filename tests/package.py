"""Builds the package, checks its content, and runs the wheel on a machine with only Python and ssh: `tox -e package`.

The wheels of the dependencies are built here, because the clean machine only reaches the SSH host. With --repository,
--tag and --outdir it is the package of a release, see docs/contributing.rst.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from pathlib import Path

import docker

from support import docker_engine, release
from support.hosts import DockerHost
from support.release import InvalidRelease as InvalidPackage

ROOT = Path(__file__).parent.parent
NOWHERE = "https://example.invalid/luigi_sshjob"  # not a release: only the form of links is checked
WANTED_METADATA = ("Author", "Classifier", "Description", "Keywords", "License", "Project-URL", "Summary")
PLUGIN = "pytest_luigi_sshjob.py"
LUIGI_CFG = """[sshjob]
ssh_config = {home}/ssh_config

[retcode]
task_failed = 30
unhandled_exception = 40
"""


def log(text: str) -> None:
    print(f"package: {text}", flush=True)


def python(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", *map(str, arguments)], check=True)


def build(folder: Path, repository: str) -> tuple[Path, Path]:
    """Build the sdist from a copy of the checkout, and the wheel from it."""
    copy = folder.with_name("checkout")
    release.copy_for_index(ROOT, copy, repository)
    python("build", "--outdir", folder, copy)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    python("twine", "check", "--strict", sdist, wheel)
    python("check_wheel_contents", wheel)
    return sdist, wheel


def check_content(sdist: Path, wheel: Path) -> str:
    """Check that both archives are complete, and return the version."""
    # what serves the repository itself is left out
    tracked = {name for name in release.tracked_files(ROOT) if not name.startswith(".") or name == ".importlinter"}
    installed = {name for name in tracked if name.startswith("luigi_sshjob/")} | {PLUGIN}
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
        (name,) = [name for name in inside if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
        entry_points = archive.read(name.replace("METADATA", "entry_points.txt")).decode()
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    check_metadata(metadata)
    version = metadata["Version"]
    for where, names, wanted in ((wheel.name, inside, installed), (sdist.name, in_sdist, tracked)):
        if missing := wanted - names:
            raise InvalidPackage(f"{where} lacks {', '.join(sorted(missing))}")
    if not any(name.endswith("/LICENSE") for name in inside):
        raise InvalidPackage("LICENSE is missing")
    if "[pytest11]\n" not in entry_points:
        raise InvalidPackage(f"{wheel.name} does not declare its plugin for pytest")
    own = ("luigi_sshjob/", f"luigi_sshjob-{version}.dist-info/")
    foreign = {name for name in inside if not name.startswith(own)} - {PLUGIN}
    if foreign:
        raise InvalidPackage(f"{wheel.name} would also install {', '.join(sorted(foreign))}")
    return version


def check_metadata(metadata: Message) -> None:
    """Check that the package index can show everything, and that README has only absolute links there."""
    version = release.version_of(ROOT)
    if metadata["Version"] != version:
        raise InvalidPackage(f"the wheel has version {metadata['Version']}, which is not {version}")
    readme = metadata.get_payload()
    missing = [name for name in WANTED_METADATA if not (metadata[name] or (name == "Description" and readme))]
    if missing:
        raise InvalidPackage(f"the metadata lack {', '.join(missing)}")
    relative = re.findall(r"<(?!\w+:)\S+>`_|^\.\. image:: (?!\w+:).*", str(readme), re.MULTILINE)
    if relative:
        raise InvalidPackage(f"README has relative links: {', '.join(relative)}")


def archive_of(files: dict[str, bytes], owner: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.uid, entry.gid = len(content), 0o600, owner, owner
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@contextlib.contextmanager
def started(host: DockerHost) -> Iterator[DockerHost]:
    try:
        host.start()
        yield host
    finally:
        host.stop()


def run_quickstart(wheel: Path, folder: Path, client: docker.DockerClient) -> None:
    """Run the quickstart pipeline on a machine with nothing but the wheel."""
    python("pip", "wheel", "--quiet", "--wheel-dir", folder / "wheels", wheel)
    with (
        started(DockerHost(folder / "host", client=client)) as host,
        started(DockerHost(folder / "clean", "clean", client)) as clean,
    ):
        assert host.container is not None
        assert clean.container is not None
        host.container.reload()
        address = host.container.attrs["NetworkSettings"]["IPAddress"]
        known = host.host_key.with_name(host.host_key.name + ".pub").read_text()
        files = {path.name: path.read_bytes() for path in (folder / "wheels").glob("*.whl")}
        files |= {
            "quickstart.py": (ROOT / "examples" / "quickstart.py").read_bytes(),
            "luigi.cfg": LUIGI_CFG.format(home=clean.home).encode(),
            "key": host.key_file.read_bytes(),
            "known_hosts": f"box {known}".encode(),
            "ssh_config": (
                f"Host box\n  HostName {address}\n  HostKeyAlias box\n  User {host.username}\n"
                f"  IdentityFile {clean.home}/key\n  UserKnownHostsFile {clean.home}/known_hosts\n"
            ).encode(),
        }
        clean.container.put_archive(clean.home, archive_of(files, owner=1000))
        clean.run("python3", "-m", "venv", "venv")
        clean.run("venv/bin/pip", "install", "--no-index", "--find-links", clean.home, wheel.name)
        arguments = "--host box --result result --local-scheduler --workers 2 --pause 0 --no-lock"
        environment = f"PATH={clean.home}/venv/bin:$PATH LUIGI_CONFIG_PATH=luigi.cfg PYTHONPATH=."
        output = clean.run("sh", "-c", f"{environment} luigi --module quickstart Report {arguments} 2>&1")
        if "8 ran successfully" not in output or not clean.run("cat", "result"):
            raise InvalidPackage(f"the quickstart failed:\n{output}")
        listed = clean.run("sh", "-c", f"{environment} luigi-sshjob ls box 2>&1")
        log(f"the quickstart ran from the wheel: 8 tasks, {host.accepted_logins()} login; ls: {listed.strip()!r}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repository", default=NOWHERE, help="URL of the GitHub project that publishes the package")
    parser.add_argument("--tag", help="tag of the release: must be v and the version")
    parser.add_argument("--outdir", type=Path, help="directory for the sdist and the wheel, if all checks pass")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            if arguments.tag:
                release.check_tag(ROOT, arguments.tag)
            sdist, wheel = build(folder / "dist", arguments.repository)
            log(f"{sdist.name} and {wheel.name} are complete, version {check_content(sdist, wheel)}")
            run_quickstart(wheel, folder, docker_engine.connect())
            if arguments.outdir:
                shutil.copytree(folder / "dist", arguments.outdir, dirs_exist_ok=True)
        except docker_engine.NoEngine as error:
            log(f"the wheel was not tested on a clean machine: {error}")
            return 1 if os.environ.get("CI") == "true" else 0
        except InvalidPackage as error:
            log(str(error))
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
