"""Files of the recorder and of a real host behave in the same way."""

from __future__ import annotations

from collections.abc import Callable

import luigi.format

from luigi_sshjob import RemoteFileSystem, RemoteTarget
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
        "remove": lambda: files.remove(f"{folder}/put/file"),
        "remove directory": lambda: files.remove(f"{folder}/put", recursive=False),
        "remove tree": lambda: files.remove(f"{folder}/put"),
        "removed": lambda: files.exists(f"{folder}/put"),
        "nul": lambda: files.exists("a\0b"),
        "empty": lambda: files.exists(""),
        "number": lambda: files.exists(7),
    }


def results(files: RemoteFileSystem, folder: str, here: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, operation in operations(files, folder, here).items():
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
    real = results(files, folder, str(tmp_path / "real"))
    with record_jobs():
        recorded = results(RemoteFileSystem(host.alias), folder, str(tmp_path / "recorded"))
    assert recorded == real
