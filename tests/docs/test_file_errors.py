"""Errors of remote and local files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luigi_sshjob import RemoteFileSystem, RemoteTarget
from luigi_sshjob.errors import SSHJobError

from support.error_producers import Environment, Producer, assert_complete, assert_local_error


def file(method: str, *arguments: Any) -> Producer:
    return lambda _: getattr(RemoteFileSystem("box"), method)(*arguments)


PRODUCERS: list[tuple[str, Producer]] = [
    ("the path is empty", file("exists", "")),
    ("the path must be a str, not", file("mtime", b"x")),
    ("the value contains a NUL byte", file("reader", "a\0b")),
    ("the value has a character that UTF-8 cannot represent", file("reader", "a\ud800b")),
    ("invalid local path", file("put", "a\0b", "x")),
    ("the mode of a remote file must be r or w, not", lambda _: RemoteTarget("x", "box").open("a")),
]


@pytest.mark.parametrize(("sentence", "produce"), PRODUCERS, ids=[sentence for sentence, _ in PRODUCERS])
def test_a_local_error_comes_before_anything_is_sent(sentence, produce, env):
    assert_local_error(sentence, produce, env)


def shorten(path: Path) -> Callable[[int, int | None], None]:
    """A progress that makes the file shorter under way."""

    def progress(reached: int, _: int | None) -> None:
        path.write_bytes(b"")

    return progress


def becoming_shorter(env: Environment, files: RemoteFileSystem) -> None:
    source = env.tmp_path / "source"
    source.write_bytes(b"x" * 3_000_000)
    files.put(source, f"{env.folder}/copy", progress=shorten(source))


WITH_A_HOST: list[tuple[str, str, Callable[[Environment, RemoteFileSystem], object]]] = [
    (
        "the command ended",
        "running 'exit 3'",
        lambda env, files: files.remote_context.check_output(["exit 3"]),
    ),
    ("the host reported an error", "removing", lambda env, files: files.remove(f"{env.folder}/none")),
    (
        "the directory cannot be listed completely",
        "listing",
        lambda env, files: files.listdir(f"{env.folder}/none"),
    ),
    ("the file cannot be written", "writing /proc/x", lambda env, files: files.writer("/proc/x")),
    ("the file cannot be read", "reading", lambda env, files: files.reader(env.folder)),
    ("no such file on the host", "reading", lambda env, files: files.reader(f"{env.folder}/none")),
    ("no such file on the host", "reading the attributes of", lambda env, files: files.mtime(f"{env.folder}/none")),
    ("the size of a directory is not defined", "", lambda env, files: files.size(env.folder)),
    ("the path is a directory", "removing", lambda env, files: files.remove(env.folder, recursive=False)),
    (
        "the path already exists",
        "creating the directory",
        lambda env, files: files.mkdir(env.folder, raise_if_exists=True),
    ),
    (
        "the parent directory does not exist",
        "creating the directory",
        lambda env, files: files.mkdir(f"{env.folder}/a/b", parents=False),
    ),
    (
        "the path exists and is not a directory",
        "creating the directory",
        lambda env, files: files.mkdir("/etc/passwd"),
    ),
    (
        "no such file on this machine",
        "uploading",
        lambda env, files: files.put(env.tmp_path / "none", f"{env.folder}/x"),
    ),
    (
        "cannot read or write a local file",
        "downloading /etc/passwd to /dev/null/x",
        lambda env, files: files.get("/etc/passwd", "/dev/null/x"),
    ),
    ("a local file was truncated while it was copied", "uploading", becoming_shorter),
    (
        "checksum is not supported for directories",
        "uploading",
        lambda env, files: files.put(env.tmp_path, f"{env.folder}/x", checksum=True),
    ),
]


def test_file_and_command_errors_name_the_host_and_the_action(env, files, folder):
    env.folder = folder
    for sentence, doing, produce in WITH_A_HOST:
        with pytest.raises(SSHJobError) as caught:
            produce(env, files)
        assert_complete(caught.value, sentence)
        assert caught.value.host == env.host.alias, sentence
        assert caught.value.doing.startswith(doing), sentence
    assert env.host.run("ls", "-A", folder) == ""


def test_programs_missing_on_the_host_are_named(env, files, folder):
    lacking = " ".join(f"{folder}/bin/{name}" for name in ("stat", "sha256sum", "shasum", "openssl", "sha256"))
    env.host.run("sh", "-c", f"mkdir {folder}/bin && echo 'exit 1' | tee {lacking} >/dev/null && chmod 755 {lacking}")
    env.host.run("sh", "-c", f"cp .bashrc {folder}/bashrc && echo 'PATH={folder}/bin:$PATH' >>.bashrc")
    env.host.run("sh", "-c", f"head -n 1 .bashrc >{folder}/first; sed -i '1i PATH={folder}/bin:$PATH' .bashrc")
    try:
        with pytest.raises(SSHJobError) as caught:
            files.mtime("/etc/passwd")
        assert_complete(caught.value, "the host has no stat(1) that reports file times")
        (env.tmp_path / "source").write_text("x")
        with pytest.raises(SSHJobError) as caught:
            files.put(env.tmp_path / "source", f"{folder}/copy", checksum=True)
        assert_complete(caught.value, "the host has no sha256sum, shasum or openssl that can read the file")
    finally:
        env.host.run("cp", f"{folder}/bashrc", ".bashrc")
