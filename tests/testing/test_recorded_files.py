"""Files of the recorder and of a real host behave in the same way."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import luigi.format
import pytest

from luigi_sshjob import RemoteFileSystem, RemoteTarget
from luigi_sshjob.errors import SSHJobError
from luigi_sshjob.testing import record_jobs


def write(files: RemoteFileSystem, path: str, text: str = "text") -> None:
    with RemoteTarget(path, files.remote_context.host).open("w") as file:
        file.write(text)


def operations(files: RemoteFileSystem, folder: str, here: str) -> dict[str, Callable[[], object]]:
    """Operations in order, by a name for each."""
    host = files.remote_context.host
    zipped = RemoteTarget(f"{folder}/z.gz", host, format=luigi.format.Gzip)

    def fail_in_the_middle() -> None:
        with RemoteTarget(f"{folder}/new/half", host).open("w") as file:
            file.write("half")
            raise ZeroDivisionError

    def write_zipped() -> None:
        with zipped.open("w") as file:
            file.write(b"zipped")

    def write_by_temporary_path() -> None:
        with RemoteTarget(f"{folder}/by/path", host).temporary_path() as path:
            write(files, path)

    def download(path: str) -> str:
        files.get(path, f"{here}/down/file")
        with open(f"{here}/down/file") as file:
            return file.read()

    return {
        "missing": lambda: files.exists(f"{folder}/a"),
        "read missing": lambda: RemoteTarget(f"{folder}/a", host).open().read(),
        "remove missing": lambda: files.remove(f"{folder}/a"),
        "list missing": lambda: files.listdir(f"{folder}/a"),
        "write": lambda: write(files, f"{folder}/new/a"),
        "read": lambda: RemoteTarget(f"{folder}/new/a", host).open().read(),
        "many": lambda: files.exists_many([f"{folder}/new/a", f"{folder}/b"]),
        "abort": fail_in_the_middle,
        "nothing is left": lambda: files.listdir(folder),
        "zip": write_zipped,
        "unzip": lambda: zipped.open().read(),
        "temporary path": write_by_temporary_path,
        "size": lambda: files.size(f"{folder}/by/path"),
        "size of directory": lambda: files.size(f"{folder}/by"),
        "mtime": lambda: files.mtime(f"{folder}/by/path") > 0,
        "read directory": lambda: RemoteTarget(f"{folder}/by", host).open().read(),
        "write directory": lambda: write(files, f"{folder}/by"),
        "mkdir": lambda: files.mkdir(f"{folder}/c/d"),
        "mkdir again": lambda: files.mkdir(f"{folder}/c/d"),
        "mkdir exists": lambda: files.mkdir(f"{folder}/c/d", raise_if_exists=True),
        "mkdir on file": lambda: files.mkdir(f"{folder}/by/path"),
        "mkdir below file": lambda: files.mkdir(f"{folder}/by/path/x"),
        "mkdir without parent": lambda: files.mkdir(f"{folder}/e/f", parents=False),
        "isdir": lambda: [files.isdir(f"{folder}/c"), files.isdir(f"{folder}/by/path"), files.isdir(f"{folder}/g")],
        "move": lambda: files.move(f"{folder}/new/a", f"{folder}/moved/a"),
        "move over file": lambda: files.move(f"{folder}/moved/a", f"{folder}/by/path"),
        "move to directory": lambda: files.move(f"{folder}/by/path", f"{folder}/c"),
        "move missing": lambda: files.move(f"{folder}/a", f"{folder}/b"),
        "rename": lambda: files.rename_dont_move(f"{folder}/by/path", f"{folder}/c/g"),
        "rename over": lambda: files.rename_dont_move(f"{folder}/c/g", f"{folder}/c/d"),
        "copy": lambda: files.copy(f"{folder}/c/g", f"{folder}/copied/g"),
        "copy directory": lambda: files.copy(f"{folder}/c", f"{folder}/copied/c"),
        "copy to directory": lambda: files.copy(f"{folder}/c/g", f"{folder}/c"),
        "copy missing": lambda: files.copy(f"{folder}/a", f"{folder}/b"),
        "glob": lambda: files.glob(f"{folder}/*/g"),
        "glob nothing": lambda: files.glob(f"{folder}/*/nothing"),
        "list": lambda: sorted(files.listdir(f"{folder}/copied/")),
        "list file": lambda: files.listdir(f"{folder}/c/g"),
        "put": lambda: files.put(f"{here}/local", f"{folder}/put/file"),
        "put directory": lambda: files.put(here, f"{folder}/put/all"),
        "put missing": lambda: files.put(f"{here}/nothing", f"{folder}/put/file"),
        "get": lambda: download(f"{folder}/put/all/local"),
        "get missing": lambda: download(f"{folder}/a"),
        "localize": lambda: [Path(files.localize(path)).read_text() for path in 2 * [f"{folder}/put/file"]],
        "localize directory": lambda: sorted(os.listdir(files.localize(f"{folder}/put/all/"))),
        "localize name": lambda: Path(RemoteTarget(f"{folder}/put/all/local", host).localize(checksum=True)).name,
        "localize missing": lambda: files.localize(f"{folder}/a"),
        "localize nul": lambda: files.localize("a\0b"),
        "localize number": lambda: files.localize(7),
        "remove": lambda: files.remove(f"{folder}/put/file"),
        "remove directory": lambda: files.remove(f"{folder}/put", recursive=False),
        "remove tree": lambda: files.remove(f"{folder}/put"),
        "removed": lambda: files.exists(f"{folder}/put"),
        "nul": lambda: files.exists("a\0b"),
        "empty": lambda: files.exists(""),
        "number": lambda: files.exists(7),
    }


def make_links(here: Path, folder: str) -> None:
    """Local directories with links, for `link_operations`."""
    for name in ("t/sub", "cycle/sub"):
        (here / name).mkdir(parents=True)
    (here / "t" / "file").write_text("text")
    (here / "t" / "sub" / "inner").write_text("inner")
    for name, target in {
        "t/absolute": f"{folder}/t/sub",
        "t/chain": "absolute/",
        "t/to_file": "sub/../file",
        "t/dangling": "nothing",
        "cycle/up": "..",
        "cycle/loop": "loop",
    }.items():
        (here / name).symlink_to(target)


def link_operations(files: RemoteFileSystem, folder: str, here: str) -> dict[str, Callable[[], object]]:
    """Operations on links, in order, by a name for each."""
    host, t = files.remote_context.host, f"{folder}/t"

    def download() -> object:
        files.get(f"{t}/sub/../chain", f"{here}/got")
        return sorted(path.name for path in Path(here, "got").iterdir())

    return {
        "put": lambda: [files.put(f"{here}/t", t), files.put(f"{here}/cycle", f"{folder}/cycle")],
        "exists": lambda: [files.exists(f"{t}/{name}") for name in ("absolute", "chain/inner", "to_file", "dangling")],
        "many": lambda: files.exists_many([f"{t}/absolute/inner", f"{t}/dangling"]),
        "isdir": lambda: [files.isdir(f"{t}/{name}") for name in ("absolute", "chain", "to_file", "dangling")],
        "read": lambda: RemoteTarget(f"{t}/chain/inner", host).open().read(),
        "size": lambda: files.size(f"{t}/to_file"),
        "parent of a link": lambda: files.exists(f"{t}/absolute/../file"),
        "parent in a glob": lambda: files.glob(f"{t}/absolute/../fil*"),
        "parent of the root": lambda: files.glob(f"/../../../../../..{t}/fil*"),
        "glob of links": lambda: files.glob(f"{t}/*"),
        "glob through links": lambda: files.glob(f"{t}/[ac]*/in*"),
        "glob of directories": lambda: files.glob(f"{t}/*/"),
        "glob nothing": lambda: files.glob(f"{folder}/cycle/loop/*") + files.glob(f"{t}/file/*"),
        "glob home": lambda: [type(files.glob(pattern)) for pattern in ("~/*", "*", ".*")],
        "list": lambda: sorted(files.listdir(t)),
        "list link": lambda: files.listdir(f"{t}/chain"),
        "list cycle": lambda: files.listdir(f"{folder}/cycle"),
        "loop": lambda: [files.exists(f"{folder}/cycle/loop"), files.isdir(f"{folder}/cycle/loop")],
        "read loop": lambda: RemoteTarget(f"{folder}/cycle/loop", host).open().read(),
        "write below": lambda: write(files, f"{t}/absolute/new/deep"),
        "written": lambda: sorted(files.listdir(f"{t}/sub")),
        "copy link": lambda: files.copy(f"{t}/to_file", f"{folder}/one"),
        "copy directory": lambda: files.copy(t, f"{folder}/copies"),
        "copied": lambda: sorted(files.listdir(f"{folder}/copies")),
        "get": download,
        "write over": lambda: [write(files, f"{t}/to_file", "over"), files.copy(f"{folder}/one", f"{t}/dangling")],
        "replaced": lambda: [files.size(f"{t}/file"), files.size(f"{t}/dangling"), files.exists(f"{t}/nothing")],
        "move to link": lambda: files.move(f"{folder}/one", f"{t}/absolute"),
        "mkdir": lambda: files.mkdir(f"{t}/chain"),
        "move link": lambda: [files.move(f"{t}/chain", f"{folder}/link"), files.exists(f"{t}/absolute/inner")],
        "remove link": lambda: [files.remove(f"{t}/absolute"), files.exists(f"{t}/sub/inner")],
        "remove all": lambda: [files.remove(t), files.exists(f"{folder}/cycle")],
    }


def results(operations: dict[str, Callable[[], object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, operation in operations.items():
        try:
            found[name] = operation()
        except Exception as error:  # noqa: BLE001
            found[name] = type(error)
    return found


def test_operations_have_the_results_and_errors_of_a_host(host, files, folder, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "recorded").mkdir()
    for here in ("real", "recorded"):
        (tmp_path / here / "local").write_text("local text")
        make_links(tmp_path / here, folder)
    for each in (operations, link_operations):
        real = results(each(files, folder, str(tmp_path / "real")))
        with record_jobs():
            recorded = results(each(RemoteFileSystem(host.alias), folder, str(tmp_path / "recorded")))
        assert recorded == real


def test_no_link_leads_to_files_of_this_machine(tmp_path, monkeypatch):
    real, project, temporary = (tmp_path / name for name in ("real", "project", "temporary"))
    for folder in (real, project, temporary):
        folder.mkdir()
    (real / "keep").write_text("of this machine")
    for name, target in {"data": real, "up": Path("../" * 20, *real.parts[1:]), "file": real / "keep"}.items():
        (project / name).symlink_to(target)
    # as /tmp on macOS
    (tmp_path / "link").symlink_to(temporary)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "link"))
    with record_jobs():
        files = RemoteFileSystem("one")
        files.put(str(project), "p")
        assert files.exists_many(["p/data", "p/data/keep", "p/up/keep", "p/file"]) == 4 * [False]
        assert files.listdir("p") == []
        assert [files.glob(f"{folder}/kee*") for folder in ("p/data", "p/*", f"../../../../../..{real}")] == [
            [],
            [],
            [],
        ]
        for change in (
            lambda: files.remove("p/data/keep"),
            lambda: files.move("p/up/keep", "stolen"),
            lambda: files.copy("p/file", "stolen"),
            lambda: files.get("p/file", str(tmp_path / "got")),
        ):
            with pytest.raises(SSHJobError, match="host one"):
                change()
        for path in ("p/data/new", "p/file", "p/up/sub/new"):
            write(files, path)
        files.put(str(project / "file"), "p/data/new")
        assert RemoteTarget(f"{real}/new", "one").open().read() == "of this machine"
        assert files.listdir("p/data") == ["p/data/new", "p/data/sub/new"]
    assert [path.name for path in real.iterdir()] == ["keep"]
    assert (real / "keep").read_text() == "of this machine"
    assert list(temporary.iterdir()) == []
