"""Sending to the cache of a host: whole, once, resumed after a cut; what cannot be sent leaves nothing."""

from __future__ import annotations

import os
import signal

import pytest

from luigi_sshjob import RemoteContext
from luigi_sshjob.errors import LocalFileError, RemoteCommandFailed
from luigi_sshjob.targets import host_cache
from luigi_sshjob.targets.content import Content
from luigi_sshjob.targets.host_cache import HostCache

from support import processes
from support.settings import both_transports, both_transports_at

SIZE = 1_000_000  # bytes
PLACES = [700, 8000, 100_000, 500_000, SIZE - 1, SIZE + 500, SIZE + 3000]
HOLE = 300_000_000  # bytes
SMALL = "/small"


class Sender:
    """Sends local paths to a cache in a folder of the host."""

    def __init__(self, host, base):
        self.host, self.base = host, base

    @property
    def cache(self) -> HostCache:
        return HostCache(RemoteContext(self.host.alias).connection, self.base)

    def send(self, path) -> str:
        """The path of the copy on the host."""
        content = Content(str(path))
        self.cache.add(content)
        return f"{self.base}/cache/{content.entry}/content"

    def names(self) -> list[str]:
        return self.host.run("sh", "-c", f"ls -A {self.base}/cache 2>/dev/null || true").split()

    def content(self, path: str) -> bytes:
        return self.host.run("cat", path).encode(errors="surrogateescape")


@pytest.fixture
def sender(host, folder):
    return Sender(host, folder)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    (root / "sub" / "empty folder").mkdir(parents=True)
    (root / "sub" / "a b\n'$(x)").write_bytes(os.urandom(SIZE))
    (root / "sub" / ("n" * 255)).write_bytes(b"long name")
    (root / "-rf").touch()
    (root / "program").write_text("#!/bin/sh\necho ran\n")
    (root / "program").chmod(0o750)
    (root / "link").symlink_to("program")
    return root


def same_tree(host, copy: str, root) -> bool:
    """Whether a directory of the host has the names and contents of a local one."""
    local = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
    names = host.run("sh", "-c", f"cd {copy} && find . ! -name . -print0").split("\0")
    contents = all(
        host.run("cat", f"{copy}/{name}").encode(errors="surrogateescape") == (root / name).read_bytes()
        for name in local
        if (root / name).is_file()
    )
    return sorted(name[2:] for name in names if name) == local and contents


@pytest.mark.core
@both_transports
def test_a_directory_arrives_as_it_is(host, sender, tree):
    copy = sender.send(tree)
    assert same_tree(host, copy, tree)
    assert host.run(f"{copy}/program") == host.run(f"{copy}/link") == "ran\n"
    assert host.run("sh", "-c", f"test -h {copy}/link && readlink {copy}/link") == "program\n"


@both_transports_at("place", PLACES)
@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_transfer_that_is_cut_after_any_byte_is_resumed(host, proxy, sender, source, tree, kind, place):
    sender.cache.entries(lambda texts: [RemoteContext(host.alias).connection.request("cache_list", sender.base)])
    proxy.cut_after(sent=place)
    copy = sender.send(source if kind == "file" else tree)
    if kind == "file":
        assert sender.content(copy) == source.read_bytes()
    else:
        assert same_tree(host, copy, tree)
    assert len(sender.names()) == 1


def test_a_transfer_continues_where_it_was_cut(proxy, sender, tmp_path):
    source = tmp_path / "large"
    source.write_bytes(os.urandom(30_000_000))
    proxy.cut_after(sent=25_000_000)
    sender.send(source)
    assert proxy.sent < 40_000_000


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_sender_that_is_killed_leaves_no_entry_and_the_next_one_sends(host, sender, luigi_cfg, tmp_path, kind):
    root = tmp_path / "large"
    root.mkdir()
    (root / "file").write_bytes(os.urandom(60_000_000))
    path = root if kind == "directory" else root / "file"
    pid = os.fork()
    if not pid:
        sender.send(path)
        os._exit(0)
    processes.wait_until(lambda: any(name.startswith(".sshjob-tmp") for name in sender.names()), "the first bytes")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert all(name.startswith(".sshjob-tmp") for name in sender.names())
    copy = sender.send(path)
    assert host.run("stat", "-c", "%s", copy if kind == "file" else f"{copy}/file") == "60000000\n"


def test_one_of_several_processes_sends_and_the_others_wait_for_it(host, sender, source, monkeypatch):
    sender.cache.entries(lambda _: [RemoteContext(host.alias).connection.request("cache_list", sender.base)])
    sent, original = [], host_cache.Upload.run
    monkeypatch.setattr(host_cache.Upload, "run", lambda *arguments: (sent.append(1), original(*arguments)))
    children = []
    for _ in range(5):
        pid = os.fork()
        if not pid:
            sender.send(source)
            os._exit(len(sent))
        children.append(pid)
    assert sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children) == 1
    assert sender.names() == [Content(str(source)).entry]


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_file_that_changes_while_it_is_sent_is_an_error_and_leaves_nothing(sender, tmp_path, monkeypatch, kind):
    root = tmp_path / "tree"
    root.mkdir()
    (root / "file").write_bytes(os.urandom(5_000_000))
    original = host_cache.Upload.run

    def run(upload, source):
        with (root / "file").open("r+b") as file:
            file.seek(4_999_990)
            file.write(b"x")
        original(upload, source)

    monkeypatch.setattr(host_cache.Upload, "run", run)
    with pytest.raises(LocalFileError, match=r"changed while it was copied: .*[\s\S]*Next: wait for the program"):
        sender.send(root if kind == "directory" else root / "file")
    assert sender.names() == []


def test_what_is_no_file_or_directory_is_refused(sender, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path):
        with pytest.raises(LocalFileError, match="not a regular file, directory or link"):
            sender.send(path)
    with pytest.raises(FileNotFoundError):
        sender.send(tmp_path / "missing")
    assert sender.names() == []


def test_thousands_of_small_files_are_one_transfer(host, sender, tmp_path):
    root = tmp_path / "many"
    root.mkdir()
    for number in range(20_000):
        (root / str(number)).write_bytes(b"%d\n" % number)
    sessions = host.log_text().count("Starting session: ")
    copy = sender.send(root)
    assert host.log_text().count("Starting session: ") - sessions < 10
    assert host.run("sh", "-c", f"ls {copy} | wc -l; cat {copy}/19999").split() == ["20000", "19999"]


def test_a_sparse_file_stays_sparse(host, sender, tmp_path):
    source = tmp_path / "sparse"
    with source.open("wb") as out:
        out.truncate(HOLE)
        out.seek(HOLE)
        out.write(b"end")
    copy = sender.send(source)
    assert host.run("stat", "-c", "%s", copy) == f"{HOLE + 3}\n"
    assert int(host.run("stat", "-c", "%b", copy)) * 512 < 10_000_000


@pytest.mark.needs_docker
@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_full_disk_of_the_host_is_an_error_that_says_so_and_leaves_nothing(special_bench, tmp_path, kind):
    bench = special_bench(tmpfs={SMALL: "size=6m,mode=777"})
    root = tmp_path / "tree"
    root.mkdir()
    # an archive of this size fits, but not its content next to it
    (root / "file").write_bytes(os.urandom(8_000_000 if kind == "file" else 4_000_000))
    sender = Sender(bench.host, f"{SMALL}/base")
    with pytest.raises(
        RemoteCommandFailed, match=r"No space left on device|cannot be extracted[\s\S]*Next: .* free disk"
    ):
        sender.send(root if kind == "directory" else root / "file")
    assert sender.names() == []
    (root / "file").write_bytes(b"small")
    sender.send(root)
    assert len(sender.names()) == 1


@pytest.mark.needs_docker
def test_without_sha256_a_host_compares_by_cksum_and_says_so_and_without_either_it_refuses(
    special_bench, tmp_path, caplog
):
    bench = special_bench()
    programs = "/usr/bin/sha256sum /usr/bin/shasum /usr/bin/openssl"
    bench.host.run("sh", "-c", f"rm -f {programs}", user="root")
    (tmp_path / "file").write_bytes(os.urandom(SIZE))
    sender = Sender(bench.host, f"{bench.host.home}/base")
    assert sender.content(sender.send(tmp_path / "file")) == (tmp_path / "file").read_bytes()
    assert f"{bench.host.alias} has no program for sha256" in caplog.text
    bench.host.run("rm", "/usr/bin/cksum", user="root")
    (tmp_path / "file").write_bytes(b"another")
    with pytest.raises(RemoteCommandFailed, match=r"has no cksum[\s\S]*Next: install one"):
        sender.send(tmp_path / "file")
    assert len(sender.names()) == 1


@pytest.mark.needs_docker
def test_an_entry_whose_time_is_later_than_its_check_is_an_error_not_a_loop(special_bench, source):
    bench = special_bench()
    # as if a clock was set back between the check and the end
    wrapper = '#!/bin/sh\n/usr/bin/mv "$@" || exit\nfor last; do :; done\ntouch -t 200001010000 "$last/verified"\n'
    bench.host.run("sh", "-c", "cat >/usr/local/bin/mv; chmod 755 /usr/local/bin/mv", input=wrapper, user="root")
    with pytest.raises(RemoteCommandFailed, match=r"later than that of its check[\s\S]*Next: set the clock"):
        Sender(bench.host, f"{bench.host.home}/base").send(source)
