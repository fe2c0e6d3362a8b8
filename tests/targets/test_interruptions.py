"""A broken connection or a lost response never leads to a truncated file or a wrong result."""

from __future__ import annotations

import os

import luigi
import luigi.contrib.ssh
import luigi.format
import luigi.target
import pytest
from luigi.format import Nop

from luigi_sshjob import RemoteTarget
from luigi_sshjob.errors import ConnectionFailed, ConnectionLost
from luigi_sshjob.ssh.connection import Connection

from support import processes
from support.control_master import break_connection
from support.formats import Cat
from support.settings import both_transports, both_transports_at

SIZE = 1_000_000  # bytes
PLACES = [1, 700, 3000, 8000, 100_000, 500_000, 900_000, SIZE - 1, SIZE + 500, SIZE + 3000]


@both_transports_at("sent", PLACES)
def test_a_writer_cut_after_any_byte_has_written_all_or_nothing(host, proxy, files, folder, sent):
    content = os.urandom(SIZE)
    target = RemoteTarget(f"{folder}/x", host.alias, format=Nop)
    files.exists("/")
    proxy.cut_after(sent=sent)
    try:
        with target.open("w") as out:
            out.write(content)
        written = True
    except ConnectionFailed:
        written = False
    if written:
        with target.open() as back:
            assert back.read() == content
    names = host.run("ls", "-A", folder).split()
    assert names == (["x"] if written else [])


@both_transports_at("received", PLACES)
def test_a_reader_cut_after_any_byte_raises_or_returns_everything(host, proxy, files, folder, received):
    host.run("sh", "-c", f"head -c {SIZE} /dev/urandom >{folder}/x")
    files.exists("/")
    proxy.cut_after(received=received)
    try:
        with RemoteTarget(f"{folder}/x", host.alias, format=Nop).open() as back:
            assert len(back.read()) == SIZE
    except ConnectionFailed:
        pass


@both_transports_at("place", PLACES)
def test_a_copy_cut_after_any_byte_is_complete(host, proxy, files, folder, tmp_path, place):
    (tmp_path / "source").write_bytes(os.urandom(SIZE))
    files.exists("/")
    proxy.cut_after(sent=place)
    files.put(str(tmp_path / "source"), f"{folder}/x", checksum=True)
    proxy.cut_after(received=place)
    files.get(f"{folder}/x", str(tmp_path / "back"), checksum=True)
    assert (tmp_path / "back").read_bytes() == (tmp_path / "source").read_bytes()
    assert host.run("ls", "-A", folder) == "x\n"


@both_transports
@pytest.mark.parametrize("received", [500_000, 990_000])
def test_a_process_that_reads_a_cut_stream_causes_an_error(host, proxy, files, folder, received):
    host.run("sh", "-c", f"head -c {SIZE} /dev/urandom >{folder}/x")
    files.exists("/")
    proxy.cut_after(received=received)
    try:
        with RemoteTarget(f"{folder}/x", host.alias, format=Cat()).open() as back:
            content = back.read()
        assert len(content) == SIZE
    except ConnectionFailed:
        pass


@both_transports
@pytest.mark.needs("logins")
def test_a_reader_whose_connection_breaks_raises(host, files, folder):
    host.run("sh", "-c", f"head -c 20000000 /dev/zero >{folder}/long")
    reader = RemoteTarget(f"{folder}/long", host.alias, format=luigi.format.Nop).open()
    assert len(reader.read(1000)) == 1000
    break_connection(files.remote_context)
    with pytest.raises(ConnectionFailed):
        reader.read()


@both_transports
@pytest.mark.needs("logins")
def test_a_writer_whose_connection_breaks_raises_and_leaves_nothing(host, files, folder):
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
    processes.wait_until(lambda: not any("cat" in args for _, args in host.processes()), "the end of the remote cat")
    assert not target.exists()


def lose_a_response(monkeypatch):
    """Break the connection once, between the execution of a request and its response."""
    call, left = Connection._request, [True]

    def lose(connection, text, idempotent, dedicated_session):
        response = call(connection, text, idempotent, dedicated_session)
        if "fs_reach" not in text and left and left.pop():
            raise ConnectionLost("lost by the test")
        return response

    monkeypatch.setattr(Connection, "_request", lose)


def test_a_change_whose_response_is_lost_raises_and_is_not_repeated(host, files, folder, monkeypatch):
    host.run("sh", "-c", f"echo x >{folder}/old; echo y >{folder}/gone")
    files.exists("/")
    for change in (
        lambda: files.rename_dont_move(f"{folder}/old", f"{folder}/new"),
        lambda: files.remove(f"{folder}/gone"),
    ):
        lose_a_response(monkeypatch)
        with pytest.raises(ConnectionLost):
            change()
        files.exists("/")
    assert host.run("ls", "-A", folder) == "new\n"


def test_a_query_whose_response_is_lost_is_repeated(host, files, folder, monkeypatch):
    files.exists("/")
    lose_a_response(monkeypatch)
    assert files.exists(folder)


def test_a_writer_whose_last_response_is_lost_has_written_the_file(host, files, folder, monkeypatch):
    files.exists("/")
    with RemoteTarget(f"{folder}/written", host.alias).open("w") as out:
        out.write("all of it")
        out.flush()
        lose_a_response(monkeypatch)
    assert host.run("cat", f"{folder}/written") == "all of it"
