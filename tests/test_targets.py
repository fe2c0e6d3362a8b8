"""Files on the host: every name, every byte, in place whole or not at all."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess

import luigi.contrib.ssh
import luigi.format
import luigi.target
import processes
import pytest
from masters import break_connection
from settings import both_transports

from luigi_sshjob import RemoteFileSystem, RemoteTarget
from luigi_sshjob.errors import ConnectionFailed, ConnectionLost, RemoteCommandFailed, UnsafeValue
from luigi_sshjob.ssh.connection import Connection

HOSTILE = [
    "two words",
    "a'; echo foo",
    'a "b"',
    "new\nline",
    "日本 ü",
    "$(touch owned)",
    "`touch owned`",
    "-rf",
    "back\\slash",
    "*",
    "x || true",
    "tab\tbell\a",
    "ends in space ",
    "n" * 200,
]


@pytest.fixture
def files(host, luigi_cfg):
    return RemoteFileSystem(host.alias)


@pytest.fixture
def folder(host, files):
    """A new folder on the host."""
    path = host.run("mktemp", "-d").strip()
    yield path
    host.run("rm", "-rf", path)


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_is_only_a_name(host, files, folder, name):
    target = RemoteTarget(f"{folder}/{name}", host.alias)
    assert not target.exists()
    with target.open("w") as out:
        out.write("content\n")
    assert target.exists()
    assert target.open().read() == "content\n"
    assert files.listdir(folder) == [f"{folder}/{name}"]
    assert not files.isdir(target.path)
    files.move(target.path, f"{folder}/{name} moved")
    assert host.run("ls", "-A", folder).count("moved") == 1
    files.remove(f"{folder}/{name} moved")
    assert host.run("ls", "-A", folder) == ""
    assert "owned" not in host.run("ls", "-A")


@pytest.mark.parametrize("name", ["relative", "-dash", "~/home", "folder/inside"])
def test_relative_paths_and_the_tilde_mean_the_home(host, files, name):
    with RemoteTarget(name, host.alias).open("w") as out:
        out.write("here")
    inside = name.removeprefix("~/")
    assert host.run("cat", f"{host.home}/{inside}") == "here"
    assert files.exists(name)
    files.remove(name)
    host.run("rm", "-rf", f"{host.home}/folder")
    assert not files.exists(name)


def test_what_cannot_be_a_path_is_refused_before_it_is_sent(files):
    for path in ("a\0b", ""):
        with pytest.raises(UnsafeValue, match="Next: "):
            files.exists(path)


@both_transports
def test_bytes_come_back_as_they_went(host, files, folder):
    content = os.urandom(3_000_001)
    target = RemoteTarget(f"{folder}/bytes", host.alias, format=luigi.format.Nop)
    with target.open("w") as out:
        out.write(content)
    with target.open() as back:
        assert back.read() == content
    assert host.run("stat", "-c", "%s", target.path).strip() == str(len(content))


@both_transports
@pytest.mark.parametrize("name", ["Gzip", "Bzip2", "UTF8"])
def test_luigis_formats_work_both_ways(host, files, folder, name):
    if name in ("Gzip", "Bzip2") and not shutil.which(name.lower()):
        pytest.skip(f"Luigi's format {name} runs {name.lower()}, which this machine lacks")
    text = "grün\n" * 5000
    content = text.encode() if name in ("Gzip", "Bzip2") else text
    target = RemoteTarget(f"{folder}/formatted", host.alias, format=getattr(luigi.format, name))
    with target.open("w") as out:
        out.write(content)
    with target.open() as back:
        assert back.read() == content


def test_lines_are_read_one_by_one(host, files, folder):
    target = RemoteTarget(f"{folder}/lines", host.alias)
    with target.open("w") as out:
        out.write("one\ntwo\n")
    assert list(target.open()) == ["one\n", "two\n"]


@both_transports
def test_a_writer_that_fails_leaves_nothing(host, files, folder):
    target = RemoteTarget(f"{folder}/half", host.alias)
    with pytest.raises(TypeError), target.open("w") as out:
        out.writelines(["half" * 100_000, 5])
    assert host.run("ls", "-A", folder) == ""


@both_transports
def test_a_writer_that_nobody_closes_leaves_nothing_at_the_path(host, files, folder):
    target = RemoteTarget(f"{folder}/forgotten", host.alias)
    out = target.open("w")
    out.write("half" * 100_000)
    del out
    gc.collect()
    assert not target.exists()


@both_transports
def test_a_writer_whose_process_dies_leaves_nothing_at_the_path(host, files, folder):
    target = RemoteTarget(f"{folder}/died", host.alias)
    pid = os.fork()
    if pid == 0:
        out = target.open("w")
        out.write("half" * 100_000)
        out.flush()
        os._exit(9)
    os.waitpid(pid, 0)
    processes.wait_until(
        lambda: not any("cat" in args for _, args in host.processes()), "the end of the far side's cat"
    )
    assert not target.exists()


@both_transports
def test_a_writer_whose_connection_breaks_says_so_and_leaves_nothing(host, files, folder):
    target = RemoteTarget(f"{folder}/cut", host.alias)
    target.exists()
    out = target.open("w")
    out.write("half" * 100_000)
    break_connection(files.remote_context)
    with pytest.raises(ConnectionFailed):
        out.close()
    assert host.run("ls", "-A", folder) == ""
    with target.open("w") as again:
        again.write("whole")
    assert host.run("cat", target.path) == "whole"


def test_a_file_that_is_not_whole_is_not_put_in_its_place(host, files, folder):
    target = RemoteTarget(f"{folder}/short", host.alias)
    out = target.open("w")
    out.write("half" * 100_000)
    out.flush()
    temporary = out.tmp_path
    processes.wait_until(lambda: host.run("stat", "-c", "%s", temporary).strip() == "400000", "all of it")
    host.run("truncate", "-s", "1000", temporary)
    with pytest.raises(RemoteCommandFailed, match="of 400000 bytes arrived"):
        out.close()
    assert host.run("ls", "-A", folder) == ""


@both_transports
def test_a_reader_whose_connection_breaks_does_not_end_early(host, files, folder):
    host.run("sh", "-c", f"head -c 20000000 /dev/zero >{folder}/long")
    reader = RemoteTarget(f"{folder}/long", host.alias, format=luigi.format.Nop).open()
    assert len(reader.read(1000)) == 1000
    break_connection(files.remote_context)
    with pytest.raises(ConnectionFailed):
        reader.read()


@both_transports
def test_a_missing_file_is_known_when_it_is_opened(host, files, folder):
    with pytest.raises(FileNotFoundError, match="no such file"):
        RemoteTarget(f"{folder}/missing", host.alias).open()


def test_a_file_that_may_not_be_read_says_why(host, files, folder):
    with pytest.raises(RemoteCommandFailed, match="directory"):
        RemoteTarget(folder, host.alias).open().read()


def test_writing_replaces_a_file_and_makes_its_folder(host, files, folder):
    target = RemoteTarget(f"{folder}/a/b/c", host.alias)
    for text in ("first", "second"):
        with target.open("w") as out:
            out.write(text)
    assert host.run("cat", target.path) == "second"
    assert files.listdir(folder) == [target.path]


def test_files_get_the_accounts_own_umask(host, files, folder):
    with RemoteTarget(f"{folder}/sub/file", host.alias).open("w") as out:
        out.write("x")
    assert host.run("stat", "-c", "%a", f"{folder}/sub/file", f"{folder}/sub").split() == ["644", "755"]


def test_directories_as_luigi_makes_them(host, files, folder):
    files.mkdir(f"{folder}/a/b")
    files.mkdir(f"{folder}/a/b")
    assert files.isdir(f"{folder}/a/b")
    with pytest.raises(luigi.target.FileAlreadyExists):
        files.mkdir(f"{folder}/a/b", raise_if_exists=True)
    with pytest.raises(luigi.target.MissingParentDirectory):
        files.mkdir(f"{folder}/x/y", parents=False)
    host.run("touch", f"{folder}/file")
    with pytest.raises(luigi.target.NotADirectory):
        files.mkdir(f"{folder}/file")
    with pytest.raises(RemoteCommandFailed):
        files.remove(f"{folder}/a", recursive=False)
    files.remove(f"{folder}/a")
    assert not files.exists(f"{folder}/a")


def test_renaming_does_not_move_into_a_directory_nor_over_a_file(host, files, folder):
    host.run("sh", "-c", f"cd {folder}; echo new >new; echo old >old; mkdir d")
    for taken in ("old", "d"):
        with pytest.raises(luigi.target.FileAlreadyExists):
            files.rename_dont_move(f"{folder}/new", f"{folder}/{taken}")
    with RemoteTarget(f"{folder}/made", host.alias).temporary_path() as path:
        host.run("cp", f"{folder}/new", path)
    assert host.run("cat", f"{folder}/made") == "new\n"


@both_transports
def test_files_and_directories_are_put_and_got(host, files, folder, tmp_path):
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "sub" / "a b").write_bytes(os.urandom(100_000))
    (tmp_path / "tree" / "empty").touch()
    files.put(str(tmp_path / "tree"), f"{folder}/put/tree")
    assert sorted(files.listdir(f"{folder}/put")) == [f"{folder}/put/tree/empty", f"{folder}/put/tree/sub/a b"]
    target = RemoteTarget(f"{folder}/put/tree/sub/a b", host.alias)
    target.get(str(tmp_path / "back" / "file"))
    assert (tmp_path / "back" / "file").read_bytes() == (tmp_path / "tree" / "sub" / "a b").read_bytes()
    target.put(str(tmp_path / "tree" / "empty"))
    assert host.run("stat", "-c", "%s", target.path).strip() == "0"
    with pytest.raises(FileNotFoundError):
        RemoteTarget(f"{folder}/missing", host.alias).get(str(tmp_path / "nothing"))
    assert sorted(os.listdir(tmp_path)) == ["back", "luigi.cfg", "tree"]


@both_transports
def test_programs_stay_programs(host, files, folder, tmp_path):
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


@pytest.mark.needs_docker
def test_what_may_not_be_known_is_not_said_to_be_absent(host, files):
    host.run("install", "-d", "-m", "700", "/var/tmp/closed/in", user="root")
    host.run("chmod", "700", "/var/tmp/closed", user="root")
    for question in (files.exists, files.isdir):
        with pytest.raises(RemoteCommandFailed, match="may not be searched"):
            question("/var/tmp/closed/in/deep")
    assert not files.exists("/var/tmp/nothing/here")


def lose_an_answer(monkeypatch):
    """The connection is lost after a request was carried out and before its answer arrived, once."""
    call, left = Connection._call, [True]

    def lose(connection, text, repeatable, bounded):
        answer = call(connection, text, repeatable, bounded)
        if left and left.pop():
            raise ConnectionLost("lost by the test")
        return answer

    monkeypatch.setattr(Connection, "_call", lose)


def test_a_change_whose_answer_is_lost_is_neither_repeated_nor_misreported(host, files, folder, monkeypatch):
    host.run("sh", "-c", f"echo x >{folder}/old; echo y >{folder}/gone")
    files.exists("/")
    for change in (
        lambda: files.rename_dont_move(f"{folder}/old", f"{folder}/new"),
        lambda: files.remove(f"{folder}/gone"),
    ):
        lose_an_answer(monkeypatch)
        with pytest.raises(ConnectionLost):
            change()
        files.exists("/")
    assert host.run("ls", "-A", folder) == "new\n"


def test_a_question_whose_answer_is_lost_is_asked_again(host, files, folder, monkeypatch):
    files.exists("/")
    lose_an_answer(monkeypatch)
    assert files.exists(folder)


def test_a_writer_whose_last_answer_is_lost_has_still_written(host, files, folder, monkeypatch):
    files.exists("/")
    with RemoteTarget(f"{folder}/written", host.alias).open("w") as out:
        out.write("all of it")
        out.flush()
        lose_an_answer(monkeypatch)
    assert host.run("cat", f"{folder}/written") == "all of it"


def test_many_questions_are_one_answer(host, files, folder):
    host.run("touch", f"{folder}/1", f"{folder}/2")
    assert files.exists_many([f"{folder}/{number}" for number in range(4)]) == [False, True, True, False]


def test_our_classes_are_luigis(host, files):
    target = RemoteTarget("x", host.alias)
    assert isinstance(target, luigi.contrib.ssh.RemoteTarget)
    assert isinstance(files, luigi.contrib.ssh.RemoteFileSystem)
    assert isinstance(target.fs.remote_context, luigi.contrib.ssh.RemoteContext)
