"""Streams behave like those of Luigi's LocalTarget, also when another process reads them."""

from __future__ import annotations

import contextlib
import gc
import os

import luigi
import luigi.contrib.ssh
import luigi.format
import luigi.target
import pytest
from luigi.format import UTF8, Gzip, Nop

from luigi_sshjob import RemoteTarget
from luigi_sshjob.errors import RemoteCommandFailed

from support import processes
from support.formats import Cat
from support.settings import both_transports

CONTENT = {None: "grün\nzwei\n", Nop: b"\xff\0\n", Gzip: b"packed\n" * 1000, UTF8: "grün\n"}


@pytest.fixture(params=["local", "remote"])
def make(request, tmp_path):
    """Factories of targets in a directory, and of its listing: LocalTarget sets the expectations for RemoteTarget."""
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
    def test_a_target_exists_once_its_writer_is_closed(self, make, format):
        target, names = make[0]("x", format=format), make[1]
        out = target.open("w")
        out.write(CONTENT[format])
        out.flush()
        assert not target.exists()
        out.close()
        assert names() == ["x"]
        assert target.open("r").read() == CONTENT[format]

    def test_a_closed_writer_rejects_writes(self, make, format):
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

    def test_an_exception_leaves_the_old_content(self, make, format):
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

    def test_an_unclosed_writer_changes_nothing(self, make, format):
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
    """Writes every byte twice."""

    input = "bytes"
    output = "bytes"

    class wrapper_cls(luigi.format.BaseWrapper):
        def write(self, data):
            self._stream.write(data + data)

    def pipe_reader(self, input_pipe):
        return input_pipe


def test_custom_formats_work(make):
    target = make[0]("x", format=Doubled() >> Nop)
    with target.open("w") as out:
        out.write(b"ab")
    assert target.open("r").read() == b"abab"


@both_transports
@pytest.mark.parametrize("size", [100, 10_000_000])
def test_a_compressed_file_may_be_closed_before_its_end(host, files, folder, size):
    host.run("sh", "-c", f"{{ echo first; head -c {size} /dev/urandom; }} | gzip -1 >{folder}/x")
    files.exists("/")
    logins = host.accepted_logins()
    with RemoteTarget(f"{folder}/x", host.alias, format=Gzip).open() as packed:
        assert packed.readline() == b"first\n"
    processes.wait_until(lambda: not any(args == "cat" for _, args in host.processes()), "the end of the remote cat")
    assert host.accepted_logins() == logins


@both_transports
@pytest.mark.parametrize("format", [Cat(), Nop], ids=["another process", "this process"])
def test_a_read_error_is_not_mistaken_for_an_empty_file(host, files, format):
    # a file of SELinux: without SELinux it can be opened, and reading the first byte fails
    target = RemoteTarget("/proc/self/attr/fscreate", host.alias, format=format)
    with pytest.raises(RemoteCommandFailed, match=r"cannot be read: .*Invalid argument"), target.open() as back:
        assert back.read() == b""
