"""Targets as streams: they behave as Luigi's LocalTarget, and a connection cut after any byte is never a short file."""

from __future__ import annotations

import contextlib
import gc
import os

import luigi
import luigi.format
import pytest

from luigi_sshjob import RemoteTarget
from luigi_sshjob.errors import ConnectionFailed, RemoteCommandFailed

from support import processes
from support.settings import both_transports

Nop, Gzip, UTF8 = luigi.format.Nop, luigi.format.Gzip, luigi.format.UTF8
CONTENT = {None: "grün\nzwei\n", Nop: b"\xff\0\n", Gzip: b"packed\n" * 1000, UTF8: "grün\n"}


@pytest.fixture(params=["local", "remote"])
def make(request, tmp_path):
    """Targets of a folder, and what is in it: Luigi's own show what is expected of ours."""
    if request.param == "local":
        (tmp_path / "here").mkdir()
        return lambda name, **more: luigi.LocalTarget(str(tmp_path / "here" / name), **more), (
            lambda: sorted(os.listdir(tmp_path / "here"))
        )
    host, folder = request.getfixturevalue("host"), request.getfixturevalue("folder")
    request.getfixturevalue("luigi_cfg")
    return lambda name, **more: RemoteTarget(f"{folder}/{name}", host.alias, **more), (
        lambda: host.run("ls", "-A", folder).split()
    )


@pytest.mark.parametrize("format", CONTENT, ids=lambda format: type(format).__name__)
class TestLikeLocalTarget:
    def test_a_target_is_there_when_its_writer_is_closed_and_not_before(self, make, format):
        target, names = make[0]("x", format=format), make[1]
        out = target.open("w")
        out.write(CONTENT[format])
        out.flush()
        assert not target.exists()
        out.close()
        assert names() == ["x"]
        assert target.open("r").read() == CONTENT[format]

    def test_a_closed_writer_takes_no_more(self, make, format):
        target, names = make[0]("x", format=format), make[1]
        out = target.open("w")
        out.write(CONTENT[format])
        out.close()
        for _ in range(2):
            with contextlib.suppress(FileNotFoundError):  # as some of Luigi's formats raise
                out.close()
        for late in (lambda: out.write(CONTENT[format]), out.flush):
            with pytest.raises(ValueError, match="closed"):
                late()
        assert names() == ["x"]
        assert target.open("r").read() == CONTENT[format]

    def test_an_exception_leaves_what_was_there(self, make, format):
        target, names = make[0]("x", format=format), make[1]
        with target.open("w") as out:
            out.write(CONTENT[format])
        with contextlib.suppress(ZeroDivisionError), target.open("w") as out:
            out.write(CONTENT[format] * 2)
            raise ZeroDivisionError
        del out
        gc.collect()
        assert target.open("r").read() == CONTENT[format]
        assert names() == ["x"]

    def test_a_writer_that_nobody_closed_changes_nothing(self, make, format):
        target, names = make[0]("x", format=format), make[1]
        with target.open("w") as out:
            out.write(CONTENT[format])
        out = target.open("w")
        out.write(CONTENT[format] * 2)
        del out
        gc.collect()
        assert target.open("r").read() == CONTENT[format]
        assert names() == ["x"]

    def test_lines_are_written_and_read(self, make, format):
        target = make[0]("x", format=format)
        lines = CONTENT[format].splitlines(keepends=True)
        with target.open("w") as out:
            out.writelines(lines)
        with target.open("r") as back:
            assert list(back) == lines
        assert not os.path.exists("x")

    def test_an_unknown_mode_is_refused(self, make, format):
        with pytest.raises(Exception, match="mode"):
            make[0]("x", format=format).open("q")


class Doubled(luigi.format.WrappedFormat):
    """Every byte stands there twice."""

    input = "bytes"
    output = "bytes"

    class wrapper_cls(luigi.format.BaseWrapper):
        def write(self, data):
            self._stream.write(data + data)

    def pipe_reader(self, input_pipe):
        return input_pipe


def test_formats_of_ones_own_work(make):
    target = make[0]("x", format=Doubled() >> Nop)
    with target.open("w") as out:
        out.write(b"ab")
    assert target.open("r").read() == b"abab"


# -- read by a format's own process


class Cat(luigi.format.Format):
    """A program that takes whatever it is given for whole, unlike gzip."""

    input = "bytes"
    output = "bytes"

    def pipe_reader(self, input_pipe):
        return luigi.format.InputPipeProcessWrapper(["cat"], input_pipe)


@both_transports
@pytest.mark.parametrize("size", [100, 10_000_000])
def test_a_packed_file_may_be_closed_before_its_end(host, files, folder, size):
    host.run("sh", "-c", f"{{ echo first; head -c {size} /dev/urandom; }} | gzip -1 >{folder}/x")
    files.exists("/")
    logins = host.accepted_logins()
    with RemoteTarget(f"{folder}/x", host.alias, format=Gzip).open() as packed:
        assert packed.readline() == b"first\n"
    processes.wait_until(lambda: not any(args == "cat" for _, args in host.processes()), "the end of the far side's")
    assert host.accepted_logins() == logins


@both_transports
@pytest.mark.parametrize("format", [Cat(), Nop], ids=["by a process", "by ourselves"])
def test_a_file_that_cannot_be_read_to_its_end_is_not_taken_for_an_empty_one(host, files, format):
    # of SELinux: without it, it opens and gives an error for the first byte
    target = RemoteTarget("/proc/self/attr/fscreate", host.alias, format=format)
    with pytest.raises(RemoteCommandFailed, match=r"cannot be read: .*Invalid argument"), target.open() as back:
        assert back.read() == b""


@both_transports
@pytest.mark.parametrize("received", [500_000, 990_000])
def test_what_a_process_reads_of_a_cut_file_is_not_taken_for_all_of_it(host, proxy, files, folder, received):
    host.run("sh", "-c", f"head -c {SIZE} /dev/urandom >{folder}/x")
    files.exists("/")
    proxy.cut_after(received=received)
    try:
        with RemoteTarget(f"{folder}/x", host.alias, format=Cat()).open() as back:
            content = back.read()
        assert len(content) == SIZE
    except ConnectionFailed:
        pass


# -- cut after k bytes

SIZE = 1_000_000
PLACES = [1, 700, 3000, 8000, 100_000, 500_000, 900_000, SIZE - 1, SIZE + 500, SIZE + 3000]


@both_transports
@pytest.mark.parametrize("sent", PLACES)
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


@both_transports
@pytest.mark.parametrize("received", PLACES)
def test_a_reader_cut_after_any_byte_raises_or_has_all(host, proxy, files, folder, received):
    host.run("sh", "-c", f"head -c {SIZE} /dev/urandom >{folder}/x")
    files.exists("/")
    proxy.cut_after(received=received)
    try:
        with RemoteTarget(f"{folder}/x", host.alias, format=Nop).open() as back:
            assert len(back.read()) == SIZE
    except ConnectionFailed:
        pass


@both_transports
@pytest.mark.parametrize("place", PLACES)
def test_a_copy_cut_after_any_byte_is_whole_all_the_same(host, proxy, files, folder, tmp_path, place):
    (tmp_path / "source").write_bytes(os.urandom(SIZE))
    files.exists("/")
    proxy.cut_after(sent=place)
    files.put(str(tmp_path / "source"), f"{folder}/x", checksum=True)
    proxy.cut_after(received=place)
    files.get(f"{folder}/x", str(tmp_path / "back"), checksum=True)
    assert (tmp_path / "back").read_bytes() == (tmp_path / "source").read_bytes()
    assert host.run("ls", "-A", folder) == "x\n"
