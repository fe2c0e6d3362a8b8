"""Builds the package, looks into it, and tries its wheel on a machine that has nothing but Python and ssh.

`tox -e package` calls it. The wheels of what the package needs are made here; the clean machine has no network but the
way to the SSH host.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import docker

from support import docker_engine
from support.hosts import DockerHost

ROOT = Path(__file__).parent.parent
LUIGI_CFG = """[sshjob]
ssh_config = {home}/ssh_config

[retcode]
task_failed = 30
unhandled_exception = 40
"""


class Unfit(Exception):
    """The package cannot be published so; the text says why."""


def say(text: str) -> None:
    print(f"package: {text}", flush=True)


def python(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", *map(str, arguments)], check=True, cwd=ROOT)


def build(folder: Path) -> tuple[Path, Path]:
    """sdist and wheel, the wheel made of the sdist."""
    python("build", "--outdir", folder)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    python("twine", "check", "--strict", sdist, wheel)
    python("check_wheel_contents", wheel)
    return sdist, wheel


def look_into(sdist: Path, wheel: Path) -> str:
    """The version, if all is there that must be."""
    scripts = {str(path.relative_to(ROOT)) for path in (ROOT / "luigi_sshjob").rglob("*.sh")}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "luigi_sshjob").rglob("*.py")}
    wanted = {"luigi_sshjob/py.typed", *scripts, *modules}
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
        (metadata,) = [name for name in inside if name.endswith(".dist-info/METADATA")]
        version = Parser().parsestr(archive.read(metadata).decode())["Version"]
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    if f'__version__ = "{version}"\n' not in (ROOT / "luigi_sshjob" / "__init__.py").read_text():
        raise Unfit(f"the wheel has version {version}, which is not luigi_sshjob.__version__")
    for where, names in ((wheel.name, inside), (sdist.name, in_sdist)):
        missing = wanted - names
        if missing:
            raise Unfit(f"{where} lacks {', '.join(sorted(missing))}")
    if not any(name.endswith("/LICENSE") for name in inside) or "LICENSE" not in in_sdist:
        raise Unfit("there is no LICENSE inside")
    foreign = {name for name in inside if not name.startswith(("luigi_sshjob/", f"luigi_sshjob-{version}.dist-info/"))}
    if foreign:
        raise Unfit(f"{wheel.name} would also install {', '.join(sorted(foreign))}")
    return version


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


def try_it(wheel: Path, folder: Path, client: docker.DockerClient) -> None:
    """The pipeline of the quick start, from a machine that has the wheel alone."""
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
        arguments = "--host box --result result --local-scheduler --workers 2 --no-lock"
        environment = f"PATH={clean.home}/venv/bin:$PATH LUIGI_CONFIG_PATH=luigi.cfg PYTHONPATH=."
        said = clean.run("sh", "-c", f"{environment} luigi --module quickstart Report {arguments} 2>&1")
        if "8 ran successfully" not in said or not clean.run("cat", "result"):
            raise Unfit(f"the quick start did not do its work:\n{said}")
        listed = clean.run("sh", "-c", f"{environment} luigi-sshjob ls box 2>&1")
        say(
            f"the quick start ran from the wheel alone: 8 tasks, {host.accepted_logins()} login; ls: {listed.strip()!r}"
        )


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            sdist, wheel = build(folder / "dist")
            say(f"{sdist.name} and {wheel.name} have all they must have, version {look_into(sdist, wheel)}")
            try_it(wheel, folder, docker_engine.connect())
        except docker_engine.NoEngine as error:
            say(f"the wheel was not tried on a clean machine: {error}")
            return 1 if os.environ.get("CI") == "true" else 0
        except Unfit as error:
            say(str(error))
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
