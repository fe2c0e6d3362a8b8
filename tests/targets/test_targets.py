"""RemoteTarget: reading and writing files, atomically and in Luigi's formats."""

from __future__ import annotations

import gc
import os
import shutil

import luigi
import luigi.contrib.ssh
import luigi.format
import luigi.target
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luigi_sshjob import RemoteBulkComplete, RemoteTarget
from luigi_sshjob.errors import RemoteCommandFailed
from luigi_sshjob.ssh.connection import Connection

from support import processes
from support.settings import both_transports


@pytest.mark.core
@both_transports
def test_bytes_round_trip_unchanged(host, files, folder):
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


def test_a_reader_iterates_over_lines(host, files, folder):
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
def test_an_unclosed_writer_leaves_nothing_at_the_path(host, files, folder):
    target = RemoteTarget(f"{folder}/forgotten", host.alias)
    out = target.open("w")
    out.write("half" * 100_000)
    del out
    gc.collect()
    assert not target.exists()


def test_an_incomplete_file_is_not_put_in_place(host, files, folder):
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


@pytest.mark.core
@both_transports
def test_opening_a_missing_file_raises(host, files, folder):
    with pytest.raises(FileNotFoundError, match="no such file"):
        RemoteTarget(f"{folder}/missing", host.alias).open()


def test_reading_a_directory_raises_with_the_reason(host, files, folder):
    with pytest.raises(RemoteCommandFailed, match="directory"):
        RemoteTarget(folder, host.alias).open().read()


def test_writing_replaces_a_file_and_creates_its_directory(host, files, folder):
    target = RemoteTarget(f"{folder}/a/b/c", host.alias)
    for text in ("first", "second"):
        with target.open("w") as out:
            out.write(text)
    assert host.run("cat", target.path) == "second"
    assert files.listdir(folder) == [target.path]


def test_files_get_the_umask_of_the_account(host, files, folder):
    with RemoteTarget(f"{folder}/sub/file", host.alias).open("w") as out:
        out.write("x")
    assert host.run("stat", "-c", "%a", f"{folder}/sub/file", f"{folder}/sub").split() == ["644", "755"]


@pytest.mark.parametrize("name", ["n" * 255, "dir/", "plain"])
def test_a_temporary_path_becomes_the_target(host, files, folder, name):
    with RemoteTarget(f"{folder}/deep/{name}", host.alias).temporary_path() as path:
        assert os.path.dirname(path.rstrip("/")) == f"{folder}/deep"
        host.run("mkdir" if name == "dir/" else "touch", path)
    assert files.exists(f"{folder}/deep/{name}")
    with pytest.raises(KeyError), RemoteTarget(f"{folder}/other", host.alias).temporary_path() as path:
        raise KeyError
    assert host.run("ls", "-A", folder, f"{folder}/deep").split()[-1] == name.rstrip("/")


class Made(RemoteBulkComplete, luigi.Task):
    folder = luigi.Parameter()
    host = luigi.Parameter()
    number = luigi.IntParameter()

    def output(self):
        remote = [RemoteTarget(f"{self.folder}/{self.number}.{part}", self.host) for part in "ab"]
        return [remote, luigi.LocalTarget("/dev/null")]


def test_bulk_complete_sends_one_request_per_host(host, files, folder, monkeypatch):
    host.run("sh", "-c", f"cd {folder}; touch 1.a 1.b 2.a 4.a 4.b")
    requests = []
    call = Connection.request
    monkeypatch.setattr(Connection, "request", lambda *args, **more: requests.append(args) or call(*args, **more))
    wanted = [(folder, host.alias, number) for number in range(200)]
    assert Made.bulk_complete(wanted) == [(folder, host.alias, number) for number in (1, 4)]
    assert len(requests) == 1
    assert Made.bulk_complete([{"folder": folder, "host": host.alias, "number": 4}]) == [
        {"folder": folder, "host": host.alias, "number": 4}
    ]
    assert Made.bulk_complete([]) == []


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=names.filter(lambda name: name not in (".", "..")), content=st.binary(max_size=300_000))
def test_any_content_under_any_name_round_trips(host, files, folder, name, content):
    target = RemoteTarget(f"{folder}/{name}", host.alias, format=luigi.format.Nop)
    with target.open("w") as out:
        out.write(content)
    with target.open() as back:
        assert back.read() == content
    assert files.listdir(folder) == [target.path]
    assert files.exists_many([target.path, f"{target.path}x"]) == [True, False]
    target.remove()
    assert not target.exists()


def test_classes_are_subclasses_of_luigis(host, files):
    target = RemoteTarget("x", host.alias)
    assert isinstance(target, luigi.contrib.ssh.RemoteTarget)
    assert isinstance(files, luigi.contrib.ssh.RemoteFileSystem)
    assert isinstance(target.fs.remote_context, luigi.contrib.ssh.RemoteContext)
