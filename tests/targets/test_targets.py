"""Files on the host: every name, every byte, in place whole or not at all."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys

import luigi
import luigi.contrib.ssh
import luigi.format
import luigi.target
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luigi_sshjob import RemoteBulkComplete, RemoteTarget
from luigi_sshjob.errors import ConnectionFailed, ConnectionLost, RemoteCommandFailed, UnsafeValue
from luigi_sshjob.ssh.connection import Connection

from support import processes
from support.control_master import break_connection
from support.settings import both_transports

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
    "n" * 255,
    "é" * 127,
]


@pytest.mark.core
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
    files.move(target.path, f"{folder}/moved/{name}")
    assert host.run("ls", "-A", folder) == "moved\n"
    files.remove(f"{folder}/moved/{name}")
    assert host.run("ls", "-A", f"{folder}/moved") == ""
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


@pytest.mark.core
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


@pytest.mark.core
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


@pytest.mark.core
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


@pytest.mark.needs_docker
def test_what_may_not_be_known_is_not_said_to_be_absent(host, files):
    host.run("install", "-d", "-m", "700", "/var/tmp/closed/in", user="root")
    host.run("chmod", "700", "/var/tmp/closed", user="root")
    for question in (files.exists, files.isdir, lambda path: files.exists_many(["/", path])):
        with pytest.raises(RemoteCommandFailed, match="may not be searched"):
            question("/var/tmp/closed/in/deep")
    assert not files.exists("/var/tmp/nothing/here")
    host.run("rm", "-r", "/var/tmp/closed", user="root")


def lose_an_answer(monkeypatch):
    """The connection is lost after a request was carried out and before its answer arrived, once."""
    call, left = Connection._request, [True]

    def lose(connection, text, idempotent, dedicated_session):
        answer = call(connection, text, idempotent, dedicated_session)
        if left and left.pop():
            raise ConnectionLost("lost by the test")
        return answer

    monkeypatch.setattr(Connection, "_request", lose)


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


@pytest.mark.parametrize("name", ["n" * 255, "dir/", "plain"])
def test_a_temporary_path_becomes_the_target(host, files, folder, name):
    with RemoteTarget(f"{folder}/deep/{name}", host.alias).temporary_path() as path:
        assert os.path.dirname(path.rstrip("/")) == f"{folder}/deep"
        host.run("mkdir" if name == "dir/" else "touch", path)
    assert files.exists(f"{folder}/deep/{name}")
    with pytest.raises(KeyError), RemoteTarget(f"{folder}/other", host.alias).temporary_path() as path:
        raise KeyError
    assert host.run("ls", "-A", folder, f"{folder}/deep").split()[-1] == name.rstrip("/")


@pytest.mark.parametrize("name", [*HOSTILE, "tree"])
def test_what_is_copied_is_there_twice(host, files, folder, name):
    if name == "tree":
        host.run("sh", "-c", f"mkdir -p {folder}/tree/sub; echo content >{folder}/tree/sub/file")
    else:
        with RemoteTarget(f"{folder}/{name}", host.alias).open("w") as out:
            out.write("content")
    files.copy(f"{folder}/{name}", f"{folder}/made/{name}")
    assert files.exists(f"{folder}/{name}")
    assert len(files.listdir(f"{folder}/made")) == 1
    assert host.run("grep", "-r", "content", f"{folder}/made").count("content") == 1
    with pytest.raises(luigi.target.FileAlreadyExists):
        files.copy(f"{folder}/{name}", f"{folder}/made")
    with pytest.raises(RemoteCommandFailed, match="No such file"):
        files.copy(f"{folder}/none", f"{folder}/to")
    assert ".sshjob" not in host.run("ls", "-A", folder, f"{folder}/made")


@pytest.mark.core
def test_a_pattern_stands_for_the_names_that_match(host, files, folder):
    names = ["a\nb", "a 1", "a$(x)2", "b*", "b?"]
    for name in names:
        RemoteTarget(f"{folder}/{name}", host.alias).open("w").close()
    assert files.glob(f"{folder}/a*") == [f"{folder}/{name}" for name in names[:3]]
    assert files.glob(f"{folder}/a[ x]1") == [f"{folder}/a 1"]
    assert files.glob(f"{folder}/a 1") == [f"{folder}/a 1"]
    assert files.glob(f"{folder}/none*") == []
    assert files.glob(f"{folder}/$(touch owned)*; touch owned") == []
    assert "owned" not in host.run("ls", "-A")


@pytest.mark.core
def test_size_and_time_are_those_of_the_host(host, files, folder):
    host.run("sh", "-c", f"printf 12345 >{folder}/file; touch -d @1234567890 {folder}/file {folder}")
    assert (files.size(f"{folder}/file"), files.mtime(f"{folder}/file")) == (5, 1_234_567_890)
    assert files.mtime(folder) == 1_234_567_890
    with pytest.raises(IsADirectoryError):
        files.size(folder)
    for question in (files.size, files.mtime):
        with pytest.raises(FileNotFoundError):
            question(f"{folder}/missing")


def test_arguments_reach_a_program_as_they_are(host, files):
    argv = ["printf", "%s\n", *HOSTILE]
    assert files.remote_context.check_output_argv(argv).decode() == "".join(f"{name}\n" for name in HOSTILE)
    with pytest.raises(RemoteCommandFailed):
        files.remote_context.check_output_argv(["false"])


class Made(RemoteBulkComplete, luigi.Task):
    folder = luigi.Parameter()
    host = luigi.Parameter()
    number = luigi.IntParameter()

    def output(self):
        remote = [RemoteTarget(f"{self.folder}/{self.number}.{part}", self.host) for part in "ab"]
        return [remote, luigi.LocalTarget("/dev/null")]


def test_completeness_of_many_tasks_is_one_question(host, files, folder, monkeypatch):
    host.run("sh", "-c", f"cd {folder}; touch 1.a 1.b 2.a 4.a 4.b")
    asked = []
    call = Connection.request
    monkeypatch.setattr(Connection, "request", lambda *args, **more: asked.append(args) or call(*args, **more))
    wanted = [(folder, host.alias, number) for number in range(200)]
    assert Made.bulk_complete(wanted) == [(folder, host.alias, number) for number in (1, 4)]
    assert len(asked) == 1
    assert Made.bulk_complete([{"folder": folder, "host": host.alias, "number": 4}]) == [
        {"folder": folder, "host": host.alias, "number": 4}
    ]
    assert Made.bulk_complete([]) == []


def test_no_ssh_process_reads_the_terminal(host, files, folder, tmp_path):
    """In the background of a terminal it would be stopped: spotify/luigi#2349."""
    program = tmp_path / "program.py"
    program.write_text(
        "import luigi.format, sys\n"
        "from luigi_sshjob import RemoteContext, RemoteFileSystem, RemoteTarget\n"
        f"host, folder = {host.alias!r}, {folder!r}\n"
        "files = RemoteFileSystem(host)\n"
        "files.remote_context.check_output(['cat'])\n"
        "with RemoteTarget(folder + '/made', host, format=luigi.format.Gzip).open('w') as out: out.write(b'x')\n"
        "RemoteTarget(folder + '/made', host, format=luigi.format.Gzip).open().read()\n"
        "files.put(__file__, folder + '/put'); files.get(folder + '/put', __file__ + '.back')\n"
        "print('typed:', sys.stdin.readline().strip())\n"
    )
    typescript = ["script", "-qec", f"{sys.executable} {program}", "/dev/null"]
    done = subprocess.run(typescript, input=b"what was typed\n", capture_output=True, timeout=60)
    assert b"typed: what was typed" in done.stdout


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=names.filter(lambda name: name not in (".", "..")), content=st.binary(max_size=300_000))
def test_any_bytes_under_any_name_come_back(host, files, folder, name, content):
    target = RemoteTarget(f"{folder}/{name}", host.alias, format=luigi.format.Nop)
    with target.open("w") as out:
        out.write(content)
    with target.open() as back:
        assert back.read() == content
    assert files.listdir(folder) == [target.path]
    assert files.exists_many([target.path, f"{target.path}x"]) == [True, False]
    target.remove()
    assert not target.exists()


@pytest.mark.core
def test_many_questions_are_one_answer(host, files, folder):
    host.run("touch", f"{folder}/1", f"{folder}/2")
    assert files.exists_many([f"{folder}/{number}" for number in range(4)]) == [False, True, True, False]


def test_our_classes_are_luigis(host, files):
    target = RemoteTarget("x", host.alias)
    assert isinstance(target, luigi.contrib.ssh.RemoteTarget)
    assert isinstance(files, luigi.contrib.ssh.RemoteFileSystem)
    assert isinstance(target.fs.remote_context, luigi.contrib.ssh.RemoteContext)
