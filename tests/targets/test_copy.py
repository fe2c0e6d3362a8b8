"""put and get: atomic and complete copies of files and directories, which resume after a broken connection."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import luigi.target
import pytest

from luigi_sshjob import RemoteTarget
from luigi_sshjob.errors import ConfigurationError, ConnectionFailed, RemoteCommandFailed

from support import processes
from support.control_master import kill_master
from support.settings import both_transports, configure

GIB = 1 << 30


def tree(path: Path) -> dict[str, tuple[bytes, int, int]]:
    """Return content, permissions and time in seconds of each file in a directory."""
    found = {}
    for file in sorted(path.rglob("*")):
        status = file.lstat()
        content = file.read_bytes() if file.is_file() else b""
        found[str(file.relative_to(path))] = (content, status.st_mode & 0o7777, int(status.st_mtime))
    return found


@pytest.fixture
def some_tree(tmp_path):
    """A directory with unusual names, sizes, permissions and times."""
    root = tmp_path / "tree"
    (root / "sub" / "empty folder").mkdir(parents=True)
    (root / "sub" / "a b\n'$(x)").write_bytes(os.urandom(300_000))
    (root / "sub" / ("n" * 255)).write_bytes(b"long name")
    (root / "-rf").touch()
    (root / "program").write_text("#!/bin/sh\necho ran\n")
    (root / "program").chmod(0o750)
    (root / "link").symlink_to("program")
    os.utime(root / "program", (1_000_000_000, 1_000_000_000))
    return root


@pytest.mark.core
@pytest.mark.needs("tar that keeps the times of directories")
@both_transports
def test_a_directory_round_trip_preserves_content_modes_and_times(host, files, folder, some_tree, tmp_path):
    files.put(str(some_tree), f"{folder}/made/it", preserve=True)
    files.get(f"{folder}/made/it", str(tmp_path / "back" / "here"), preserve=True)
    assert tree(tmp_path / "back" / "here") == tree(some_tree)
    assert (tmp_path / "back" / "here" / "link").is_symlink()
    assert host.run("ls", "-A", f"{folder}/made") == "it\n"
    assert os.listdir(tmp_path / "back") == ["here"]


@pytest.mark.core
def test_a_directory_gets_new_times_by_default(host, files, folder, some_tree):
    files.put(str(some_tree), f"{folder}/it")
    age = int(host.run("date", "+%s")) - int(host.run("stat", "-c", "%Y", f"{folder}/it/program"))
    assert abs(age) < 3600
    assert host.run(f"{folder}/it/program") == "ran\n"


def test_put_and_get_refuse_an_existing_directory(host, files, folder, some_tree, tmp_path):
    host.run("mkdir", f"{folder}/taken")
    with pytest.raises(luigi.target.FileAlreadyExists):
        files.put(str(some_tree), f"{folder}/taken")
    assert host.run("ls", "-A", folder, f"{folder}/taken").split() == [f"{folder}:", "taken", f"{folder}/taken:"]
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "file").touch()
    with pytest.raises(OSError, match="not empty"):
        files.get(f"{folder}/taken", str(tmp_path / "here"))
    assert sorted(os.listdir(tmp_path)) == ["here", "luigi.cfg", "tree"]


@both_transports
def test_a_directory_that_changes_during_put_is_refused(host, files, folder, tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(os.urandom(50_000_000))

    def shorten(reached: int, _: int | None) -> None:
        if reached > 5_000_000:
            os.truncate(tmp_path / "tree" / "file", 1000)

    with pytest.raises(OSError, match="truncated while it was copied"):
        files.put(str(tmp_path / "tree"), f"{folder}/it", progress=shorten)
    assert host.run("ls", "-A", folder) == ""


def test_thousands_of_small_files_need_no_round_trip_each(host, files, folder, tmp_path):
    (tmp_path / "many").mkdir()
    for number in range(3000):
        (tmp_path / "many" / str(number)).write_bytes(b"%d\n" % number)
    files.exists("/")
    logins, sessions = host.accepted_logins(), host.log_text().count("Starting session: ")
    files.put(str(tmp_path / "many"), f"{folder}/many")
    files.get(f"{folder}/many", str(tmp_path / "back"))
    assert tree(tmp_path / "back").keys() == tree(tmp_path / "many").keys()
    assert host.accepted_logins() == logins
    assert host.log_text().count("Starting session: ") - sessions < 10


@pytest.mark.core
@both_transports
def test_a_file_round_trip_preserves_content_mode_and_time(host, files, folder, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3_000_001))
    source.chmod(0o640)
    os.utime(source, (1_100_000_001, 1_100_000_001))
    files.put(str(source), f"{folder}/a/b", preserve=True, checksum=True)
    assert host.run("stat", "-c", "%a %Y %s", f"{folder}/a/b") == "640 1100000001 3000001\n"
    target = RemoteTarget(f"{folder}/a/b", host.alias)
    target.get(str(tmp_path / "x" / "back"), preserve=True, checksum=True)
    back = tmp_path / "x" / "back"
    assert back.read_bytes() == source.read_bytes()
    assert (back.stat().st_mode & 0o777, back.stat().st_mtime) == (0o640, 1_100_000_001)
    (tmp_path / "empty").touch()
    target.put(str(tmp_path / "empty"), checksum=True)
    target.get(str(back))
    assert back.read_bytes() == b""
    assert (files.size(target.path), host.run("ls", "-A", f"{folder}/a")) == (0, "b\n")


@both_transports
def test_programs_stay_executable(host, files, folder, tmp_path):
    (tmp_path / "program").write_text("#!/bin/sh\necho ran\n")
    (tmp_path / "program").chmod(0o755)
    files.put(str(tmp_path / "program"), f"{folder}/program")
    assert host.run(f"{folder}/program") == "ran\n"
    files.get(f"{folder}/program", str(tmp_path / "back"))
    assert subprocess.run([tmp_path / "back"], capture_output=True, check=True).stdout == b"ran\n"
    (tmp_path / "text").touch()
    files.put(str(tmp_path / "text"), f"{folder}/text")
    files.get(f"{folder}/text", str(tmp_path / "text"))
    assert host.run("stat", "-c", "%a", f"{folder}/text") == "644\n"
    assert not os.access(tmp_path / "text", os.X_OK)


def test_a_sparse_file_over_4_gib_stays_sparse(host, files, folder, tmp_path):
    source = tmp_path / "sparse"
    with source.open("wb") as out:
        for offset in (0, 1 * GIB + 77, 4 * GIB + 12_345):
            out.seek(offset)
            out.write(os.urandom(100_000))
        out.truncate(5 * GIB)
    files.put(str(source), f"{folder}/sparse")
    assert files.size(f"{folder}/sparse") == 5 * GIB
    assert int(host.run("stat", "-c", "%b", f"{folder}/sparse")) * 512 < 10_000_000
    for offset in (0, 1 * GIB + 77, 4 * GIB + 12_345):
        with source.open("rb") as expected:
            expected.seek(offset - offset % 4096)
            wanted = expected.read(200_704)
        block = ["dd", f"if={folder}/sparse", "bs=4096", f"skip={offset // 4096}", "count=49", "status=none"]
        assert host.run("sh", "-c", f"{' '.join(block)} | sha256sum").split()[0] == _sha256(wanted)


def _sha256(data: bytes) -> str:
    return subprocess.run(["sha256sum"], input=data, capture_output=True, check=True).stdout.decode().split()[0]


@both_transports
def test_get_preserves_holes(host, files, folder, tmp_path):
    script = f"cd {folder}; echo begin >f; truncate -s 50M f; echo middle >>f; truncate -s 80000001 f"
    host.run("sh", "-c", script)
    files.get(f"{folder}/f", str(tmp_path / "f"), checksum=True)
    assert (tmp_path / "f").stat().st_blocks * 512 < 10_000_000
    assert (tmp_path / "f").stat().st_size == 80_000_001


@both_transports
@pytest.mark.parametrize("method", ["put", "get"])
def test_a_transfer_resumes_after_a_broken_connection(host, proxy, files, folder, tmp_path, method):
    content = os.urandom(60_000_000)
    (tmp_path / "source").write_bytes(content)
    if method == "get":
        files.put(str(tmp_path / "source"), f"{folder}/file")
    files.exists("/")
    reported = []
    proxy.cut_after(sent=25_000_000) if method == "put" else proxy.cut_after(received=25_000_000)
    before = proxy.sent + proxy.received
    if method == "put":
        files.put(str(tmp_path / "source"), f"{folder}/file", progress=lambda *args: reported.append(args))
    else:
        files.get(f"{folder}/file", str(tmp_path / "back"), progress=lambda *args: reported.append(args))
        assert (tmp_path / "back").read_bytes() == content
        assert sorted(os.listdir(tmp_path)) == ["back", "luigi.cfg", "source", "ssh_config_of_the_proxy"]
    passed = proxy.sent + proxy.received - before
    assert host.run("sha256sum", f"{folder}/file").split()[0] == _sha256(content)
    assert host.run("ls", "-A", folder) == "file\n"
    assert reported[-1] == (60_000_000, 60_000_000)
    assert passed < 60_000_000 * 1.25, f"{passed} bytes passed for 60,000,000: it started over"


@pytest.mark.parametrize("kind", ["plain", "sparse"])
def test_a_file_that_changes_during_an_outage_is_not_mixed(host, proxy, files, folder, tmp_path, kind):
    host.run("sh", "-c", f"head -c 30000000 /dev/zero | tr '\\0' a >{folder}/file")
    files.exists("/")
    changed = []

    def replace(reached: int, _: int | None) -> None:
        if reached > 5_000_000 and not changed:
            changed.append(reached)
            new = {
                "plain": f"head -c 20000000 /dev/zero | tr '\\0' b >{folder}/new",
                "sparse": f"truncate -s 20000000 {folder}/new",
            }[kind]
            host.run("sh", "-c", f"{new}; mv {folder}/new {folder}/file")
            proxy.cut()

    files.get(f"{folder}/file", str(tmp_path / "back"), progress=replace)
    assert changed
    assert (tmp_path / "back").read_bytes() == {"plain": b"b", "sparse": b"\0"}[kind] * 20_000_000


@both_transports
def test_a_transfer_needs_only_one_session(host, files, folder, some_tree, tmp_path):
    configure(max_sessions=1, unreachable_timeout=5, request_timeout=5)
    for number, source in enumerate((some_tree / "program", some_tree)):
        files.put(str(source), f"{folder}/{number}", preserve=True)
        files.get(f"{folder}/{number}", str(tmp_path / "back" / str(number)), preserve=True)
    assert (tmp_path / "back" / "0").read_bytes() == (some_tree / "program").read_bytes()
    assert tree(tmp_path / "back" / "1") == tree(some_tree)


def test_a_transfer_fails_after_the_unreachable_timeout(host, proxy, files, folder, tmp_path):
    configure(unreachable_timeout=3, request_timeout=3, connect_timeout=2, connect_attempts=1)
    with (tmp_path / "source").open("wb") as out:
        out.truncate(1)
        out.write(os.urandom(20_000_000))
    files.exists("/")

    def silence(reached: int, _: int | None) -> None:
        if reached > 5_000_000:
            proxy.silence()

    with pytest.raises(ConnectionFailed, match="Next: "):
        files.put(str(tmp_path / "source"), f"{folder}/file", progress=silence)
    proxy.restore()
    assert not files.exists(f"{folder}/file")


@both_transports
def test_a_corrupted_copy_is_not_put_in_place(host, files, folder, tmp_path):
    (tmp_path / "source").write_bytes(b"x" * 3_000_000)

    def corrupt(reached: int, total: int | None) -> None:
        if reached == total:
            host.run("sh", "-c", f"printf y | dd of=$(echo {folder}/.sshjob-tmp.*/content) conv=notrunc status=none")

    with pytest.raises(RemoteCommandFailed, match="checksum mismatch after the copy"):
        files.put(str(tmp_path / "source"), f"{folder}/file", checksum=True, progress=corrupt)
    assert host.run("ls", "-A", folder) == ""
    with pytest.raises(ConfigurationError, match="not supported for directories"):
        files.put(str(tmp_path), f"{folder}/file", checksum=True)


@pytest.mark.needs("logins")
def test_leftovers_of_a_dead_writer_are_removed_later(host, files, folder):
    out = RemoteTarget(f"{folder}/dead", host.alias).open("w")
    out.write("half")
    out.flush()
    kill_master(files.remote_context)
    # the writer cannot clean up
    leftover = host.run("sh", "-c", f"echo {folder}/.sshjob-tmp.*").strip()
    processes.wait_until(
        lambda: not any("cat" in args.split()[0] for _, args in host.processes()), "the end of the remote cat"
    )
    living = RemoteTarget(f"{folder}/living", host.alias).open("w")
    living.write("goes on")
    living.flush()
    for path in (f"{leftover}/content", leftover, living.tmp_path):
        host.run("touch", "-d", "3 days ago", path)
    with RemoteTarget(f"{folder}/next", host.alias).open("w") as other:
        other.write("x")
    assert leftover not in files.glob(f"{folder}/.sshjob-tmp.*")
    living.close()
    assert sorted(host.run("ls", "-A", folder).split()) == ["living", "next"]
    with pytest.raises(ConnectionFailed):
        out.close()


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_leftovers_of_a_killed_get_are_removed_and_active_copies_are_kept(host, files, folder, tmp_path, kind):
    host.run("sh", "-c", f"mkdir {folder}/it; head -c 5000000 /dev/urandom >{folder}/it/file")
    source = f"{folder}/it/file" if kind == "file" else f"{folder}/it"
    here = tmp_path / "here"
    get = f"RemoteFileSystem('{host.alias}').get('{source}', '{here}/dead', progress=killed)"
    (tmp_path / "program.py").write_text(
        "import os\nfrom luigi_sshjob import RemoteFileSystem\n"
        f"def killed(reached, _):\n    if reached > 1_000_000:\n        os.kill(os.getpid(), 9)\n{get}\n"
    )
    for _ in range(2):
        assert subprocess.run([sys.executable, tmp_path / "program.py"], stdin=subprocess.DEVNULL).returncode == -9
    processes.wait_until(
        lambda: not any(f"{here}/.sshjob-tmp" in process.args for process in processes.running()), "the end of its tar"
    )
    old, young = here.glob(".sshjob-tmp.*")
    days_ago = time.time() - 3 * 24 * 3600
    (here / ".sshjob-tmp.of.another").touch()
    for path in (old, here / ".sshjob-tmp.of.another"):
        os.utime(path, (days_ago, days_ago))
    seen = []

    def look(reached: int, _: int | None) -> None:
        if reached > 1_000_000 and not seen:
            (own,) = set(here.glob(".sshjob-tmp.*")) - {young, here / ".sshjob-tmp.of.another"}
            os.utime(own, (days_ago, days_ago))
            files.get(source, str(here / "another"))
            seen.append(own.exists())

    files.get(source, str(here / "living"), progress=look)
    assert seen == [True]
    assert sorted(os.listdir(here)) == sorted([".sshjob-tmp.of.another", young.name, "another", "living"])
    copies = [here / name / "file" if kind == "directory" else here / name for name in ("another", "living")]
    assert {_sha256(copy.read_bytes()) for copy in copies} == {host.run("sha256sum", f"{folder}/it/file").split()[0]}


@both_transports
@pytest.mark.parametrize("kind", ["file", "directory"])
def test_private_files_stay_private_during_a_copy(host, files, folder, tmp_path, kind):
    source = tmp_path / "source"
    if kind == "directory":
        source.mkdir()
    (source / "file" if kind == "directory" else source).write_bytes(os.urandom(10_000_000))
    source.chmod(0o600 if kind == "file" else 0o700)
    seen: dict[str, set[str]] = {"there": set(), "here": set()}

    def look_there(*_: object) -> None:
        if not seen["there"]:
            seen["there"] = set(host.run("sh", "-c", f"stat -c %a {folder}/.sshjob-tmp.*/*").split())

    def look_here(*_: object) -> None:
        seen["here"] |= {f"{path.stat().st_mode & 0o777:o}" for path in tmp_path.glob(".sshjob-tmp.*")}

    umask = os.umask(0o022)
    try:
        files.put(str(source), f"{folder}/it", preserve=True, progress=look_there)
        files.get(f"{folder}/it", str(tmp_path / "back"), preserve=True, progress=look_here)
        # without preserve the umask applies
        files.get(f"{folder}/it", str(tmp_path / "usual"))
    finally:
        os.umask(umask)
    mode = f"{source.stat().st_mode & 0o777:o}"
    assert seen == {"there": {mode}, "here": {mode}}
    assert host.run("stat", "-c", "%a", f"{folder}/it").strip() == mode
    assert (tmp_path / "back").stat().st_mode == source.stat().st_mode
    if kind == "file":
        assert (tmp_path / "usual").stat().st_mode & 0o777 == 0o644


def test_copying_a_missing_file_leaves_nothing(host, files, folder, tmp_path):
    with pytest.raises(FileNotFoundError):
        files.get(f"{folder}/missing", str(tmp_path / "nothing"))
    with pytest.raises(FileNotFoundError):
        files.put(str(tmp_path / "missing"), f"{folder}/nothing")
    assert os.listdir(tmp_path) == ["luigi.cfg"]
    assert host.run("ls", "-A", folder) == ""


def test_a_progress_bar_is_shown_only_on_a_terminal(host, files, folder, tmp_path):
    (tmp_path / "source").write_bytes(b"x" * 1000)
    put = f"RemoteFileSystem('{host.alias}').put('{tmp_path}/source', '{folder}/f', progress=True)"
    (tmp_path / "program.py").write_text(f"from luigi_sshjob import RemoteFileSystem\n{put}\n")
    command = [sys.executable, str(tmp_path / "program.py")]
    typescript = ["script", "-qec", " ".join(command), "/dev/null"]
    on_terminal = subprocess.run(typescript, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout
    assert b"source" in on_terminal
    assert b"1.0/1.0 kB" in on_terminal
    elsewhere = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    assert elsewhere.stdout + elsewhere.stderr == b""
