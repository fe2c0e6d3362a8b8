"""localize: local copies of remote files, which are used again exactly while the file has not changed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from luigi_sshjob import RemoteTarget, errors
from luigi_sshjob.remote import quoting
from luigi_sshjob.targets import cached_copy
from luigi_sshjob.targets.digests import chunks, cksum
from luigi_sshjob.targets.local_copies import copies_directory

from support import processes
from support.memory_disk import memory_disk
from support.settings import both_transports


@pytest.fixture
def cache(luigi_cfg):
    return copies_directory()


@pytest.fixture
def localize(files):
    """Returns a function that localizes a path and returns its copy, and whether anything was transferred."""

    def localize(path, **options) -> tuple[Path, bool]:
        reported: list[int] = []
        local = files.localize(path, progress=lambda reached, _: reported.append(reached), **options)
        return Path(local), bool(reported)

    return localize


@pytest.fixture
def settle(files):
    """Returns a function that waits until the times of a path tell its next change."""

    def settle(path):
        processes.wait_until(lambda: files._commands.version(path).settled, "the time of the file to be settled")

    return settle


@pytest.fixture
def programs(host, files, folder):
    """Returns a function that replaces a program of the host by a script."""
    directory = f"{folder}/bin"
    rc = ".profile" if host.kind == "local" else ".bashrc"
    host.run("sh", "-c", f"mkdir {directory}; touch {rc}; cp {rc} {folder}/rc; echo 'PATH={directory}:$PATH' >{rc}")

    def replace(name: str, script: str) -> None:
        host.run("sh", "-c", f"cat >{directory}/{name} && chmod 755 {directory}/{name}", input=f"#!/bin/sh\n{script}\n")

    yield replace
    host.run("cp", f"{folder}/rc", rc)


def write(host, path: str, content: bytes | str) -> None:
    host.run("sh", "-c", 'cat >"$1"', "sh", path, input=content)


@both_transports
def test_a_second_localize_transfers_nothing_until_the_file_changes(host, files, folder, localize, settle):
    path = f"{folder}/data.csv"
    write(host, path, "one\n")
    settle(path)
    first, transferred = localize(path)
    assert (first.name, first.read_text(), transferred) == ("data.csv", "one\n", True)
    assert localize(path) == (first, False)
    assert RemoteTarget(path, host.alias).localize() == str(first)
    write(host, path, "two\n")
    second, transferred = localize(path)
    assert (second.name, second.read_text(), transferred) == ("data.csv", "two\n", True)
    # a program may be using it
    assert first.read_text() == "one\n"


@pytest.mark.needs("logins")
def test_a_copy_that_is_used_again_costs_one_round_trip_and_no_session(host, proxy, files, folder, settle):
    path = f"{folder}/data"
    write(host, path, os.urandom(1_000_000))
    settle(path)
    files.localize(path)
    sessions, passed = host.log_text().count("Starting session: "), proxy.sent + proxy.received
    files.localize(path)
    assert proxy.sent + proxy.received - passed < 5000
    assert host.log_text().count("Starting session: ") == sessions


def test_a_file_that_has_just_changed_is_compared_until_its_time_is_settled(host, folder, localize, settle):
    path = f"{folder}/data"
    write(host, path, "same")
    first, _ = localize(path)
    assert localize(path) == (first, False)
    settle(path)
    assert localize(path) == (first, False)
    assert cached_copy.CachedCopy.read(first.parent.parent).record.settled


@pytest.mark.needs("programs found by PATH")
def test_a_change_that_the_time_of_the_file_does_not_show_is_found_while_that_is_recent(
    host, folder, programs, localize
):
    path = f"{folder}/data"
    write(host, path, "one")
    now = int(host.run("date", "+%s"))
    real = 'PATH=/usr/bin:/bin exec stat "$@"'
    for settled, changed in ((False, now + 1000), (True, now - 1000)):
        # as for changes within a second on a file system that keeps whole seconds
        programs("stat", f"case $* in *%Z*) echo {changed} 7 3 same ;; *) {real} ;; esac")
        assert localize(path)[0].read_text() == "one"
        write(host, path, "two")
        assert localize(path)[0].read_text() == ("one" if settled else "two")
        write(host, path, "one")


@both_transports
def test_a_checksum_finds_each_difference_and_saves_a_transfer(host, folder, localize, settle):
    path = f"{folder}/data"
    write(host, path, "one")
    settle(path)
    first, _ = localize(path, checksum=True)
    host.run("touch", path)
    assert localize(path, checksum=True) == (first, False)
    # the local copy: same size and time
    status = first.stat()
    first.chmod(0o600)
    first.write_text("bad")
    os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns))
    second, transferred = localize(path, checksum=True)
    assert (second.read_text(), transferred) == ("one", True)
    assert second != first


@pytest.mark.needs("programs found by PATH")
@pytest.mark.parametrize("content", ["one", ""])
def test_a_host_without_sha256_compares_crc_and_size(host, folder, programs, localize, content):
    for name in ("sha256sum", "shasum", "openssl", "sha256"):
        programs(name, "exit 1")
    path = f"{folder}/data"
    write(host, path, content)
    first, transferred = localize(path, checksum=True)
    assert (first.read_text(), transferred) == (content, bool(content))
    assert localize(path, checksum=True) == (first, False)
    write(host, path, "two")
    assert localize(path, checksum=True)[0].read_text() == "two"


def test_the_crc_is_that_of_cksum(tmp_path):
    for size in (0, 1, 255, 256, 70_000, 3_000_001):
        path = tmp_path / str(size)
        path.write_bytes(os.urandom(size))
        with path.open("rb") as file:
            expected = subprocess.run(["cksum"], stdin=file, capture_output=True, check=True).stdout.decode()
            assert cksum(chunks(file)) == " ".join(expected.split())


@both_transports
def test_a_directory_is_copied_again_when_a_file_in_it_changes(host, folder, localize, settle):
    path = f"{folder}/tree"
    host.run(
        "sh", "-c", f"mkdir -p {path}/sub/empty; echo one >{path}/sub/file; ln -s sub {path}/link; chmod 555 {path}/sub"
    )
    settle(path)
    first, transferred = localize(f"{path}/")
    assert (first.name, transferred) == ("tree", True)
    assert (first / "link" / "file").read_text() == "one\n"
    assert localize(f"{path}/") == (first, False)
    host.run("sh", "-c", f"chmod 755 {path}/sub; echo two >{path}/sub/file")
    settle(path)
    second, transferred = localize(f"{path}/")
    assert ((second / "sub" / "file").read_text(), transferred) == ("two\n", True)
    assert (first / "sub" / "file").read_text() == "one\n"
    # somebody adds a file to the copy
    (second / "sub" / "more").touch()
    third, transferred = localize(f"{path}/")
    assert (sorted(os.listdir(third / "sub")), transferred) == (["empty", "file"], True)
    with pytest.raises(errors.ConfigurationError, match="not supported for directories"):
        localize(path, checksum=True)


def test_a_local_copy_that_was_changed_is_not_used_again(host, folder, localize, settle):
    path = f"{folder}/data"
    write(host, path, "one")
    settle(path)
    first, _ = localize(path)
    first.chmod(0o600)
    first.write_text("changed")
    second, transferred = localize(path)
    assert (second.read_text(), transferred) == ("one", True)
    second.unlink()
    assert localize(path)[0].read_text() == "one"


def test_copies_are_private_and_read_only(host, cache, folder, localize):
    host.run(
        "sh", "-c", f"mkdir {folder}/tree && cd {folder}/tree && echo 'echo ran' >tool && echo >text && chmod 777 . *"
    )
    host.run("chmod", "666", f"{folder}/tree/text")
    copy, _ = localize(f"{folder}/tree")
    modes = {file.name: file.stat().st_mode & 0o777 for file in (copy, *copy.iterdir())}
    assert modes == {"tree": 0o700, "tool": 0o500, "text": 0o400}
    for path in (cache.parent, *cache.parent.rglob("*")):
        assert not path.stat().st_mode & 0o077, path


@pytest.mark.parametrize("name", ["a b\n'\"$(x).tar.gz", "-rf", "n" * 255, os.fsdecode(b"\xff.txt"), "record", "日本"])
def test_the_copy_has_the_name_of_the_file_whatever_that_is(files, folder, localize, name):
    with RemoteTarget(f"{folder}/{name}", files.remote_context.host).open("w") as out:
        out.write("text")
    copy, _ = localize(f"{folder}/{name}")
    assert (quoting.encode(copy.name), copy.read_text()) == (quoting.encode(name), "text")
    assert localize(f"{folder}/{name}") == (copy, False)


def test_a_link_is_followed(host, folder, localize, settle):
    write(host, f"{folder}/data", "one")
    host.run("ln", "-s", "data", f"{folder}/link")
    settle(f"{folder}/link")
    assert localize(f"{folder}/link")[0].read_text() == "one"
    write(host, f"{folder}/data", "two")
    assert localize(f"{folder}/link")[0].read_text() == "two"
    assert localize(f"{folder}/.")[0].joinpath("data").read_text() == "two"


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_file_that_changes_while_it_is_copied_is_copied_again(host, files, folder, cache, kind):
    host.run("sh", "-c", f"mkdir {folder}/it; head -c 3000000 /dev/zero >{folder}/it/file")
    path = f"{folder}/it/file" if kind == "file" else f"{folder}/it"
    changed = []

    def change(reached: int, _: int | None) -> None:
        if reached > 1_000_000 and not changed:
            changed.append(reached)
            write(host, f"{folder}/it/file", "x")

    copy = Path(files.localize(path, progress=change))
    assert (copy if kind == "file" else copy / "file").read_text() == "x"
    assert not list(cache.rglob(".sshjob-tmp*"))


def test_a_file_that_changes_all_the_time_is_an_error(host, files, folder, cache):
    path = f"{folder}/growing"
    write(host, path, "x")
    grow = lambda *_: host.run("sh", "-c", f"echo more >>{path}")  # noqa: E731
    with pytest.raises(errors.RemoteCommandFailed, match="changed each time while it was copied") as caught:
        files.localize(path, progress=grow)
    assert (caught.value.host, caught.value.doing) == (host.alias, f"making a local copy of {path}")
    assert [file.name for file in cache.rglob("*") if file.is_file()] == ["lock"]


def program(tmp_path: Path, host, path: str, progress: str) -> list[str]:
    """A program that localizes `path`, with the given body of `progress`; it prints that it waits for a lock."""
    (tmp_path / "program.py").write_text(f"""
import os
from luigi_sshjob import RemoteTarget
from luigi_sshjob.targets.local_copies import FileLock

reported = []
acquire = FileLock.acquire

def acquire_aloud(self, **options):
    if self.path.name == "lock":
        print("waits", flush=True)
    return acquire(self, **options)

def progress(reached, total):
    {progress}

FileLock.acquire = acquire_aloud
print(RemoteTarget({path!r}, {host.alias!r}).localize(progress=progress))
print(len(reported))
""")
    return [sys.executable, str(tmp_path / "program.py")]


@pytest.mark.needs("second session")
@both_transports
def test_of_two_processes_at_once_one_fetches_and_both_have_the_copy(host, files, folder, tmp_path):
    path = f"{folder}/data"
    content = os.urandom(5_000_000)
    write(host, path, content)
    command = program(tmp_path, host, path, "reported.append(reached)")
    others: list[subprocess.Popen] = []

    def start(reached: int, _: int | None) -> None:
        if not others:
            others.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            assert others[0].stdout.readline() == "waits\n"

    copy = files.localize(path, progress=start)
    out, _ = others[0].communicate(timeout=60)
    assert out.split() == [copy, "0"]
    assert Path(copy).read_bytes() == content


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_process_killed_in_the_middle_leaves_nothing_that_is_used(host, files, folder, tmp_path, cache, kind):
    host.run("sh", "-c", f"mkdir {folder}/it; head -c 5000000 /dev/urandom >{folder}/it/file")
    path = f"{folder}/it/file" if kind == "file" else f"{folder}/it"
    command = program(tmp_path, host, path, "reached > 1_000_000 and os.kill(os.getpid(), 9)")
    assert subprocess.run(command, stdin=subprocess.DEVNULL).returncode == -9
    (leftover,) = cache.glob("*/.sshjob-tmp.*")
    copy = Path(files.localize(path))
    file = copy if kind == "file" else copy / "file"
    digest = subprocess.run(["sha256sum", file], capture_output=True, text=True, check=True).stdout.split()[0]
    assert digest == host.run("sha256sum", f"{folder}/it/file").split()[0]
    days_ago = time.time() - 3 * 24 * 3600
    os.utime(leftover, (days_ago, days_ago))
    write(host, f"{folder}/it/file", "new")
    files.localize(path)
    assert not leftover.exists()


@both_transports
def test_a_broken_connection_is_resumed(host, proxy, files, folder):
    path = f"{folder}/data"
    content = os.urandom(20_000_000)
    write(host, path, content)
    files.exists("/")
    before = proxy.received
    proxy.cut_after(received=10_000_000)
    assert Path(files.localize(path)).read_bytes() == content
    assert proxy.received - before < 25_000_000


def test_errors_of_localize_name_the_host_the_path_and_the_action(host, files, folder, cache, monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file on the host") as caught:
        files.localize(f"{folder}/none")
    assert (caught.value.host, caught.value.filename) == (host.alias, f"{folder}/none")
    assert not cache.exists()
    write(host, f"{folder}/data", "one")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(errors.LocalFileError, match=r"local copies cannot be kept in .*Not a directory") as caught:
        files.localize(f"{folder}/data")
    assert (caught.value.host, caught.value.doing) == (host.alias, f"making a local copy of {folder}/data")
    assert "set XDG_CACHE_HOME" in caught.value.next_step


@pytest.fixture
def small_disk(tmp_path):
    with memory_disk(tmp_path / "small", "size=1m") as path:
        yield path


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_on_a_full_local_disk_nothing_is_left(host, files, folder, small_disk, monkeypatch, kind):
    monkeypatch.setenv("XDG_CACHE_HOME", str(small_disk))
    host.run("sh", "-c", f"mkdir {folder}/it; head -c 3000000 /dev/urandom >{folder}/it/file")
    with pytest.raises(errors.LocalFileError, match=r"No space left|not enough free space") as caught:
        files.localize(f"{folder}/it/file" if kind == "file" else f"{folder}/it")
    assert (caught.value.host, "free" in caught.value.next_step) == (host.alias, True)
    assert [file.name for file in small_disk.rglob("*") if file.is_file()] == ["lock"]


def test_copies_of_earlier_versions_are_removed_when_they_were_not_used_for_a_week(host, folder, localize, settle):
    path = f"{folder}/data"
    found = []
    for content, age in (("one", 8), ("two", 6), ("three", 0)):
        write(host, path, content)
        found.append(localize(path)[0])
        used = time.time() - age * 24 * 3600
        os.utime(found[-1].parent.parent / "record", (used, used))
    assert [copy.exists() for copy in found] == [False, True, True]


def test_each_shell_reports_when_the_time_of_a_file_is_settled(far_side, host, folder):
    host.run("sh", "-c", f"mkdir -p {folder}/tree/sub; echo x >{folder}/tree/sub/new")
    fresh, old = f"{folder}/tree/sub/new", "/etc/passwd"
    verbs = [quoting.Word("fs_version"), quoting.Word("fs_tree_version")]
    response = far_side.call((verbs[0], fresh), (verbs[0], old), (verbs[0], folder), (verbs[1], folder))
    new, settled, directory, tree, _ = response.split("\ntoken end ")
    assert "recent\n" in new
    assert "settled\n" in settled
    assert "directory" in directory
    assert len(tree.partition("recent\n")[2].split()) == 2
