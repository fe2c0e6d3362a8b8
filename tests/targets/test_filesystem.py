"""RemoteFileSystem and RemoteContext: any file name, and the operations that Luigi expects."""

from __future__ import annotations

import subprocess
import sys

import luigi
import luigi.contrib.ssh
import luigi.format
import luigi.target
import pytest

from luigi_sshjob import RemoteTarget
from luigi_sshjob.errors import RemoteCommandFailed, UnsafeValue

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
def test_special_characters_in_names_have_no_effect(host, files, folder, name):
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
def test_relative_paths_and_the_tilde_start_at_home(host, files, name):
    with RemoteTarget(name, host.alias).open("w") as out:
        out.write("here")
    inside = name.removeprefix("~/")
    assert host.run("cat", f"{host.home}/{inside}") == "here"
    assert files.exists(name)
    files.remove(name)
    host.run("rm", "-rf", f"{host.home}/folder")
    assert not files.exists(name)


def test_invalid_paths_are_refused_locally(files):
    for path in ("a\0b", ""):
        with pytest.raises(UnsafeValue, match="Next: "):
            files.exists(path)


@pytest.mark.core
def test_mkdir_and_remove_follow_luigis_rules(host, files, folder):
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


def test_rename_never_replaces_a_file_or_moves_into_a_directory(host, files, folder):
    host.run("sh", "-c", f"cd {folder}; echo new >new; echo old >old; mkdir d")
    for taken in ("old", "d"):
        with pytest.raises(luigi.target.FileAlreadyExists):
            files.rename_dont_move(f"{folder}/new", f"{folder}/{taken}")
    with RemoteTarget(f"{folder}/made", host.alias).temporary_path() as path:
        host.run("cp", f"{folder}/new", path)
    assert host.run("cat", f"{folder}/made") == "new\n"


@pytest.mark.needs_docker
def test_an_unsearchable_directory_is_an_error_not_an_absent_file(host, files):
    host.run("install", "-d", "-m", "700", "/var/tmp/closed/in", user="root")
    host.run("chmod", "700", "/var/tmp/closed", user="root")
    for query in (files.exists, files.isdir, lambda path: files.exists_many(["/", path])):
        with pytest.raises(RemoteCommandFailed, match="no permission to search"):
            query("/var/tmp/closed/in/deep")
    assert not files.exists("/var/tmp/nothing/here")
    host.run("rm", "-r", "/var/tmp/closed", user="root")


@pytest.mark.parametrize("name", [*HOSTILE, "tree"])
def test_copy_keeps_the_original(host, files, folder, name):
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
def test_glob_returns_the_matching_names(host, files, folder):
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
def test_size_and_mtime_are_those_of_the_host(host, files, folder):
    host.run("sh", "-c", f"printf 12345 >{folder}/file; touch -d @1234567890 {folder}/file {folder}")
    assert (files.size(f"{folder}/file"), files.mtime(f"{folder}/file")) == (5, 1_234_567_890)
    assert files.mtime(folder) == 1_234_567_890
    with pytest.raises(IsADirectoryError):
        files.size(folder)
    for query in (files.size, files.mtime):
        with pytest.raises(FileNotFoundError):
            query(f"{folder}/missing")


@pytest.mark.core
def test_exists_many_checks_many_paths_at_once(host, files, folder):
    host.run("touch", f"{folder}/1", f"{folder}/2")
    assert files.exists_many([f"{folder}/{number}" for number in range(4)]) == [False, True, True, False]


def test_arguments_reach_a_program_unchanged(host, files):
    argv = ["printf", "%s\n", *HOSTILE]
    assert files.remote_context.check_output_argv(argv).decode() == "".join(f"{name}\n" for name in HOSTILE)
    with pytest.raises(RemoteCommandFailed):
        files.remote_context.check_output_argv(["false"])


def test_no_ssh_process_reads_the_terminal(host, files, folder, tmp_path):
    """In the background of a terminal, a read would stop it: spotify/luigi#2349."""
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


@pytest.mark.needs_docker
def test_a_directory_that_cannot_be_read_is_named_in_the_words_of_the_host(host, files, folder):
    host.run("sh", "-c", f"mkdir {folder}/closed && touch {folder}/open && chmod 0 {folder}/closed")
    try:
        with pytest.raises(RemoteCommandFailed, match=f"completely: find: .*{folder}/closed.*Permission denied"):
            files.listdir(folder)
    finally:
        host.run("chmod", "700", f"{folder}/closed")
    assert files.listdir(folder) == [f"{folder}/open"]
