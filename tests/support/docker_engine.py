"""The Docker engine of the tests, and the base image of their host.

As a program, for `tests/run.sh`: exit status 0 if an engine responds and has the base image, 3 if no engine responds,
1 if the image is not available. It prints one line with the result.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress

import docker
from docker.errors import APIError, DockerException, ImageNotFound

BASE = os.environ.get("SSHJOB_TEST_BASE", "debian:bookworm-slim")


class NoEngine(Exception):
    """No Docker engine responds; the text has the address and the reason."""


class NoBaseImage(Exception):
    """The engine does not have the base image and cannot pull it."""


def connect() -> docker.DockerClient:
    """Return a client of the engine at DOCKER_HOST or the default socket."""
    where = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    try:
        client = docker.from_env()
        client.ping()
    except DockerException as error:
        raise NoEngine(f"no Docker engine responds at {where} ({_innermost(error)})") from error
    return client


def ensure_base(client: docker.DockerClient, image: str = BASE) -> None:
    """Pull or build the image if the engine does not have it. Raises `NoBaseImage`, with the alternatives."""
    with suppress(ImageNotFound):
        client.images.get(image)
        return
    try:
        client.images.pull(image)
    except APIError as error:
        try:
            bootstrap(client, image)
        except NoBaseImage as failed:
            raise NoBaseImage(
                f"the Docker engine has no image {image} and cannot pull it ({error.explanation}); {failed}. "
                f"Load it (docker load, docker import), name another Debian image in SSHJOB_TEST_BASE, or "
                f"test without Docker: DOCKER_HOST=unix:///nonexistent tests/run.sh"
            ) from error


def bootstrap(client: docker.DockerClient, image: str) -> None:
    """Build the image `debian:SUITE-slim` with debootstrap."""
    suite = re.fullmatch(r"debian:([a-z]+)-slim", image)
    if suite is None:
        raise NoBaseImage("it is not named debian:SUITE-slim, so debootstrap cannot build it")
    if os.getuid() != 0 or shutil.which("debootstrap", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin") is None:
        raise NoBaseImage("root could build it with debootstrap")
    with tempfile.TemporaryDirectory() as folder:
        tree, archive = f"{folder}/root", f"{folder}/root.tar"
        made = subprocess.run(["debootstrap", "--variant=minbase", suite[1], tree], capture_output=True, text=True)
        if made.returncode != 0:
            raise NoBaseImage(f"debootstrap failed: {(made.stderr or made.stdout).strip()[-500:]}")
        subprocess.run(["tar", "-C", tree, "-c", "-f", archive, "."], check=True)
        repository, tag = image.split(":")
        client.api.import_image_from_file(archive, repository=repository, tag=tag)


def _innermost(error: BaseException) -> str:
    """Return the text of the original error, which docker, requests and urllib3 each wrap."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error) or type(error).__name__


def main() -> int:
    try:
        client = connect()
        ensure_base(client)
    except NoEngine as error:
        print(error)
        return 3
    except NoBaseImage as error:
        print(error)
        return 1
    print(f"Docker engine {client.version()['Version']}, base image {BASE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
