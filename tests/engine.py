"""The Docker engine of the tests, and the base image of their host.

As a program (`tests/run.sh` calls it): exit status 0 where an engine answers and has the base image, 3 where
no engine answers, 1 where the image cannot be had. One line on stdout says which.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import docker
from docker.errors import APIError, DockerException, ImageNotFound

BASE = os.environ.get("SSHJOB_TEST_BASE", "debian:bookworm-slim")


class NoEngine(Exception):
    """No Docker engine answers; the text says where one was looked for, and why not."""


class NoBaseImage(Exception):
    """An engine answers, but the base image is neither there nor can it be pulled."""


def connect() -> docker.DockerClient:
    """A client of the engine of DOCKER_HOST, or of the default socket."""
    where = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    try:
        client = docker.from_env()
        client.ping()
    except DockerException as error:
        raise NoEngine(f"no Docker engine answers at {where} ({_innermost(error)})") from error
    return client


def ensure_base(client: docker.DockerClient, image: str = BASE) -> None:
    """Pull the image where the engine does not have it; NoBaseImage says what else can be done."""
    with suppress(ImageNotFound):
        client.images.get(image)
        return
    try:
        client.images.pull(image)
    except APIError as error:
        raise NoBaseImage(
            f"the Docker engine has no image {image} and cannot pull it ({error.explanation}). "
            f"Load it (docker load, docker import), name another Debian image in SSHJOB_TEST_BASE, or "
            f"test without Docker: DOCKER_HOST=unix:///nonexistent tests/run.sh"
        ) from error


def _innermost(error: BaseException) -> str:
    """docker, requests and urllib3 each wrap the cause; only the innermost says what is the matter."""
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
