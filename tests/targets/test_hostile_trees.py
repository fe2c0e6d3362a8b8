"""Directories from hosts that are not trusted: only the target is written to, with at most what was announced."""

from __future__ import annotations

import io
import os
import socket
import stat
import tarfile
from pathlib import Path

import luigi
import pytest

from luigi_sshjob import RemoteJobTask
from luigi_sshjob.errors import LocalFileError, RemoteCommandFailed
from luigi_sshjob.targets import extraction
from luigi_sshjob.targets.extraction import Announced, Extraction


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b"", **fields: int) -> bytes:
    """Return one member of an archive."""
    header = tarfile.TarInfo(name)
    header.type, header.linkname, header.size = kind, link, len(data)
    for field, value in fields.items():
        setattr(header, field, value)
    return header.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


ROOT = entry(".", tarfile.DIRTYPE, mode=0o755)
END = bytes(10240)
ANNOUNCED = Announced(10, 1000)


def extract(archive: bytes, root: Path, announced: Announced = ANNOUNCED, *, preserve: bool = True, **options) -> None:
    root.mkdir()
    options |= {"preserve": preserve, "progress": lambda *_: None}
    Extraction(io.BytesIO(archive), str(root), announced, **options).run()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (entry("/ABSOLUTE", data=b"x"), "a path leads outside"),
        (entry("../outside", data=b"x"), "a path leads outside"),
        (entry("./a/../../outside", data=b"x"), "a path leads outside"),
        (entry("link", tarfile.SYMTYPE, "..") + entry("link/outside", data=b"x"), "not in a directory of it"),
        (entry("f", tarfile.SYMTYPE, "../outside") + entry("f", data=b"x"), "a name occurs twice"),
        (entry("d", tarfile.SYMTYPE, "..") + entry("d", tarfile.DIRTYPE, mode=0o777), "a name occurs twice"),
        (entry("hard", tarfile.LNKTYPE, "../secret") + entry("hard", data=b"x"), "a path leads outside"),
        (entry("s", tarfile.SYMTYPE, "../secret") + entry("hard", tarfile.LNKTYPE, "s"), "does not lead to a file"),
        (entry("fifo", tarfile.FIFOTYPE), "FIFO, socket or device: 'fifo'"),
        (entry("device", tarfile.CHRTYPE), "FIFO, socket or device: 'device'"),
        (entry("disk", tarfile.BLKTYPE), "FIFO, socket or device: 'disk'"),
        (entry("f", data=b"x") + b"garbage" * 200, "cannot be parsed"),
        (entry("x", tarfile.XHDTYPE, data=b"x") * 3000, "cannot be parsed"),
    ],
    ids=range(13),
)
def test_a_hostile_archive_writes_nothing_outside_of_the_target(tmp_path, members, message):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with pytest.raises(RemoteCommandFailed, match=message):
        extract(ROOT + members + END, tmp_path / "root")
    assert sorted(os.listdir(tmp_path)) == ["root", "secret"]
    assert (secret.read_text(), secret.stat().st_nlink) == ("secret", 1)
    assert not os.path.exists("/ABSOLUTE")


TREE = ROOT + b"".join(entry(name, tarfile.DIRTYPE, mode=0o755) for name in ("a", "a/b"))


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("link", "/etc/passwd"),
        ("link", ".."),
        ("a/b/link", "../../../secret"),
        ("a/link", ".././/../secret"),
        ("link", "a/../../secret"),
        # `up` leads to the root, so `..` of it leads outside, although the names alone do not
        ("link", "a/b/up/../secret"),
        ("link", "absent/../secret"),
    ],
)
def test_a_confined_archive_has_no_link_that_leads_outside(tmp_path, name, target):
    members = entry("a/b/up", tarfile.SYMTYPE, "../..") + entry(name, tarfile.SYMTYPE, target)
    chain = entry("first", tarfile.SYMTYPE, name)
    with pytest.raises(RemoteCommandFailed, match=f"leads outside of its directory: '{name}' -> '{target}'\n"):
        extract(TREE + chain + members + END, tmp_path / "root", confined=True)
    extract(TREE + chain + members + END, tmp_path / "free")
    assert os.readlink(tmp_path / "free" / name) == target


def test_a_confined_archive_keeps_links_that_stay_inside(tmp_path):
    links = {
        "a/b/f": "../../f",
        "a/g": "./b/.././/b/f",
        "d": "a/b/",
        "later": "z/../f",
        "dangling": "a/absent",
        "top": ".",
    }
    members = b"".join(entry(name, tarfile.SYMTYPE, target) for name, target in links.items())
    later = entry("z", tarfile.DIRTYPE, mode=0o755) + entry("f", data=b"x")
    extract(TREE + members + later + END, tmp_path / "root", confined=True)
    assert {name: os.readlink(tmp_path / "root" / name) for name in links} == links
    assert (tmp_path / "root" / "later").read_text() == (tmp_path / "root" / "a" / "g").read_text() == "x"


class MakesModel(RemoteJobTask):
    host = luigi.Parameter()
    folder = luigi.Parameter()
    here = luigi.Parameter()
    target = luigi.Parameter()

    @property
    def base_dir(self):
        return f"{self.folder}/base"

    def command(self):
        return (
            f'mkdir -p "$SSHJOB_OUTPUT/sub"; echo x >"$SSHJOB_OUTPUT/f"; ln -s {self.target} "$SSHJOB_OUTPUT/sub/model"'
        )

    def output(self):
        return luigi.LocalTarget(f"{self.here}/out")


def test_an_output_with_a_link_that_leads_outside_is_refused(host, folder, tmp_path):
    (tmp_path / "secret").write_text("secret")
    for target in (f"{tmp_path}/secret", "../../secret"):
        task = MakesModel(host=host.alias, folder=folder, here=str(tmp_path), target=target)
        with pytest.raises(
            RemoteCommandFailed, match=r"leads outside of its directory: 'sub/model' -> .*secret'"
        ) as error:
            task.run()
        assert error.value.job
        assert not [name for name in os.listdir(tmp_path) if "out" in name or "tmp" in name]
    MakesModel(host=host.alias, folder=folder, here=str(tmp_path), target="../f").run()
    assert (tmp_path / "out" / "sub" / "model").read_text() == "x\n"


def test_localize_refuses_a_link_that_leads_outside_and_get_keeps_it(host, files, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    host.run(
        "sh", "-c", f"mkdir {folder}/it; echo x >{folder}/it/f; ln -s f {folder}/it/inside; ln -s /etc {folder}/it/etc"
    )
    with pytest.raises(
        RemoteCommandFailed, match=r"leads outside of its directory: 'etc' -> '/etc'[\s\S]*Next: let the job"
    ):
        files.localize(f"{folder}/it")
    assert not list((tmp_path / "cache").rglob("etc"))
    files.get(f"{folder}/it", tmp_path / "back")
    assert os.readlink(tmp_path / "back" / "etc") == "/etc"
    host.run("rm", f"{folder}/it/etc")
    assert (Path(files.localize(f"{folder}/it")) / "inside").read_text() == "x\n"


def test_an_archive_that_exceeds_what_was_announced_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(extraction, "_SLACK", 1000)
    monkeypatch.setattr(extraction, "_COUNT_SLACK", 1)
    archives = [
        entry("f", data=b"x" * 10_000),
        b"".join(entry(str(number)) for number in range(100)),
        entry("f") + END + bytes(1_000_000),
    ]
    for number, archive in enumerate(archives):
        with pytest.raises(RemoteCommandFailed, match="more files or bytes than it announced"):
            extract(ROOT + archive + END, tmp_path / str(number), Announced(3, 1000))


def test_a_cut_archive_is_not_taken_for_a_whole_one(tmp_path):
    whole = ROOT + entry("f", data=b"x" * 1000)
    for size in (len(whole), len(whole) - 512, len(ROOT) + 100):
        with pytest.raises(RemoteCommandFailed, match="cannot be parsed"):
            extract(whole[:size], tmp_path / str(size))


def test_no_setuid_no_setgid_and_no_foreign_owner_is_restored(tmp_path):
    members = entry("f", mode=0o6755, uid=12345, gid=12345, data=b"x") + entry("d", tarfile.DIRTYPE, mode=0o7700, uid=1)
    for preserve in (True, False):
        extract(ROOT + members + END, tmp_path / str(preserve), preserve=preserve)
        for name, mode in (("f", 0o755), ("d", 0o700)):
            status = (tmp_path / str(preserve) / name).lstat()
            assert (stat.S_IMODE(status.st_mode) & ~0o022, status.st_uid) == (mode, os.getuid())


def test_a_directory_that_does_not_fit_is_refused_before_it_is_written(host, files, folder, tmp_path):
    host.run("sh", "-c", f"mkdir {folder}/it; dd if=/dev/null of={folder}/it/f bs=1 seek=7000000000000")
    with pytest.raises(LocalFileError, match="not enough free space for the directory"):
        files.get(f"{folder}/it", tmp_path / "back")
    assert os.listdir(tmp_path) == ["luigi.cfg"]


@pytest.mark.needs("tar that keeps the times of directories")  # busybox cannot extract into read-only directories
def test_links_holes_and_names_that_are_not_utf8_arrive(host, files, folder, tmp_path):
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    (source / "f").write_text("x")
    os.link(source / "f", source / "d" / "hard")
    (source / "dangling").symlink_to("../nowhere")
    (source / "d" / os.fsdecode(b"\xff\xfe")).write_text("bytes")
    with (source / "sparse").open("wb") as out:
        out.truncate(50_000_000)
    (source / "d").chmod(0o555)
    files.put(source, f"{folder}/it", preserve=True)
    files.get(f"{folder}/it", tmp_path / "back", preserve=True)
    host.run("chmod", "-R", "u+w", f"{folder}/it")
    back = tmp_path / "back"
    assert (back / "f").stat().st_ino == (back / "d" / "hard").stat().st_ino
    assert os.readlink(back / "dangling") == "../nowhere"
    assert (back / "d" / os.fsdecode(b"\xff\xfe")).read_text() == "bytes"
    assert ((back / "sparse").stat().st_size, (back / "sparse").stat().st_blocks < 1000) == (50_000_000, True)
    assert stat.S_IMODE((back / "d").stat().st_mode) == 0o555


@pytest.mark.parametrize("preserve", [True, False])
def test_put_and_get_drop_setuid_and_setgid(host, files, folder, tmp_path, preserve):
    (tmp_path / "tree").mkdir()
    for path in (tmp_path / "tree" / "f", tmp_path / "f"):
        path.touch()
        path.chmod(0o6755)
    host.run("sh", "-c", f"mkdir {folder}/there; touch {folder}/there/f; chmod 6755 {folder}/there/f")
    files.put(tmp_path / "tree", f"{folder}/tree", preserve=preserve)
    files.put(tmp_path / "f", f"{folder}/f", preserve=preserve)
    assert host.run("stat", "-c", "%a", f"{folder}/tree/f", f"{folder}/f").split() == ["755", "755"]
    files.get(f"{folder}/there", tmp_path / "back", preserve=preserve)
    files.get(f"{folder}/there/f", tmp_path / "one", preserve=preserve)
    for path in (tmp_path / "back" / "f", tmp_path / "one"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755


def test_put_refuses_a_fifo_a_socket_and_a_device_by_name(host, files, folder, tmp_path, monkeypatch):
    (tmp_path / "tree").mkdir()
    os.mkfifo(tmp_path / "tree" / "fifo")
    with pytest.raises(LocalFileError, match=r"not a regular file, directory or link: .*tree/fifo"):
        files.put(tmp_path / "tree", f"{folder}/tree")
    (tmp_path / "tree" / "fifo").unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path / "tree")  # the path of a socket is short
        listener.bind("socket")
        with pytest.raises(LocalFileError, match="tree/socket"):
            files.put(tmp_path / "tree", f"{folder}/tree")
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", "/dev/zero"):
        with pytest.raises(LocalFileError, match=f"not a regular file, directory or link: {path}"):
            files.put(path, f"{folder}/file")
    assert host.run("ls", "-A", folder) == ""


def test_get_refuses_a_fifo_and_a_device_by_name(host, files, folder, tmp_path):
    host.run("sh", "-c", f"mkdir {folder}/tree; mkfifo {folder}/tree/fifo")
    with pytest.raises(RemoteCommandFailed, match=r"FIFO, socket or device cannot be copied: \./fifo"):
        files.get(f"{folder}/tree", tmp_path / "tree")
    for path in (f"{folder}/tree/fifo", "/dev/zero"):
        with pytest.raises(RemoteCommandFailed, match=f"{path}: not a regular file"):
            files.get(path, tmp_path / "file")
        with pytest.raises(RemoteCommandFailed, match=f"{path}: not a regular file"):
            files.reader(path)
    assert os.listdir(tmp_path) == ["luigi.cfg"]
