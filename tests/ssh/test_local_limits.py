"""This machine lacks processes, threads, descriptors or disk space: a clear error, no hang, and the next call works."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import textwrap

import pytest

from luigi_sshjob import RemoteContext, RemoteFileSystem
from luigi_sshjob.errors import LocalResourceError
from luigi_sshjob.ssh.connection import close_shells

from support.memory_disk import memory_disk
from support.process_limit import process_limit
from support.settings import configure

TRANSPORTS = ("openssh", "paramiko", "local")


@pytest.fixture(autouse=True)
def short_timeout(luigi_cfg):
    """The shell of the account may retry to fork for as long as a request may take."""
    with luigi_cfg.path.open("a") as file:
        file.write("request_timeout = 10\n")


def limited(program: str, *arguments: object) -> dict:
    """Runs a Python program in a process of its own, with the configuration of this test; it prints JSON."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


# {limit} and {unlimit} are code; sys.argv[3] is an argument of theirs
TRY = """
    import json, os, resource, sys, time
    from pathlib import Path
    from luigi_sshjob import RemoteFileSystem
    from luigi_sshjob.errors import SSHJobError
    from luigi_sshjob.ssh.connection import close_shells
    from support.process_limit import ProcessLimit

    number = int(sys.argv[3])
    files = RemoteFileSystem(sys.argv[1], transport=sys.argv[2])
    {limit}
    began, error = time.monotonic(), None
    try:
        files.exists("/")
        files.remote_context.check_output(["echo", "x"])
    except SSHJobError as caught:
        error = caught
    took = time.monotonic() - began
    {unlimit}
    again = files.exists("/") and files.remote_context.check_output(["echo", "x"]).decode()
    close_shells()
    files.remote_context.close()
    print(json.dumps(dict(error=str(error), kind=type(error).__name__, took=took, again=again)))
"""
PROCESSES = TRY.format(
    limit="limit = ProcessLimit(Path(sys.argv[4])); limit.join(); limit.set(number)", unlimit='limit.set("max")'
)
DESCRIPTORS = TRY.format(
    limit="_, hard = resource.getrlimit(resource.RLIMIT_NOFILE); "
    "highest = max(map(int, os.listdir('/proc/self/fd'))); "
    "resource.setrlimit(resource.RLIMIT_NOFILE, (highest + number, hard))",
    unlimit="resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))",
)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("allowed", [1, 2, 4, 6])
def test_with_too_few_processes_or_threads_each_call_ends_and_the_next_one_works(host, luigi_cfg, transport, allowed):
    name = "localhost" if transport == "local" else host.alias
    with process_limit() as limit:
        found = limited(PROCESSES, name, transport, allowed, limit.path)
    assert found["took"] < 45
    assert found["again"] == "x\n"
    if found["kind"] != "NoneType" and "did not respond in time" not in found["error"]:
        assert found["kind"] == "LocalResourceError", found["error"]
        assert "ulimit -u" in found["error"]
    assert allowed > 1 or found["kind"] == "LocalResourceError"


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("free", [1, 4, 8, 12])
def test_with_too_few_descriptors_each_call_ends_and_the_next_one_works(host, luigi_cfg, transport, free):
    found = limited(DESCRIPTORS, "localhost" if transport == "local" else host.alias, transport, free)
    assert found["took"] < 30
    assert found["again"] == "x\n"
    assert found["kind"] in ("LocalResourceError", "NoneType"), found["error"]
    if found["kind"] != "NoneType":
        assert "ulimit -n" in found["error"]
    assert free > 1 or found["kind"] == "LocalResourceError"


@pytest.fixture(params=["blocks", "inodes"])
def full_disk(luigi_cfg, request):
    """The runtime directory on a file system without any free space, or any free inode."""
    size = "size=16k,nr_inodes=50" if request.param == "blocks" else "size=1m,nr_inodes=30"
    with memory_disk(luigi_cfg.runtime_dir.parent / "full", size) as path:
        with contextlib.suppress(OSError):
            for number in range(30 if request.param == "inodes" else 1):
                (path / f"filling{number}").write_bytes(bytes(1 << 20 if request.param == "blocks" else 0))
        configure(runtime_dir=path, request_timeout=10)
        yield path
    path.rmdir()


def test_a_full_local_disk_is_an_error_that_says_so_and_the_next_call_works(host, full_disk):
    files = RemoteFileSystem(host.alias)
    try:
        with pytest.raises(LocalResourceError, match=r"No space left on device[\s\S]*Next: free disk space"):
            files.exists("/")
        for filling in full_disk.glob("filling*"):
            filling.unlink()
        assert files.exists("/")
    finally:
        close_shells()
        files.remote_context.close()


@pytest.mark.parametrize("what", ["directory", "files", "sockets"])
def test_a_swept_runtime_directory_costs_nothing(bench, luigi_cfg, what):
    """As by a program that removes old files from /tmp, while a job runs."""
    job = bench.submit(bench.until_released("echo end")).job
    bench.wait_until_running("/command")
    for path in luigi_cfg.runtime_dir.iterdir():
        if what == "files" or (what == "sockets" and path.is_socket()):
            path.unlink(missing_ok=True)
    if what == "directory":
        shutil.rmtree(luigi_cfg.runtime_dir, ignore_errors=True)
    bench.release()
    log = bytearray()
    outcome = bench.monitor.wait(job, lambda observation: log.extend(observation.log))
    assert (outcome.state, bytes(log)) == ("succeeded", b"end\n")
    assert RemoteContext(bench.host.alias).check_output(["echo", "x"]) == b"x\n"
