"""The files of a project: those that git tracks, or that match patterns; never more than that without a word."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from luigi_sshjob.errors import ConfigurationError, LocalFileError
from luigi_sshjob.targets import content
from luigi_sshjob.tasks import project
from luigi_sshjob.tasks.project import project_content


@pytest.fixture(autouse=True)
def git_without_settings(monkeypatch, tmp_path):
    """Git as without any configuration, and in no repository above."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))


@pytest.fixture
def code(tmp_path):
    """A directory with some files, in no repository."""
    root = tmp_path / "code"
    (root / "package").mkdir(parents=True)
    (root / "main.py").write_text("import package\n")
    (root / "package" / "__init__.py").touch()
    return root


@pytest.fixture
def repository(code):
    """The same, tracked by git."""
    git(code, "init", "-q")
    git(code, "add", ".")
    return code


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)


def found(declared) -> list[str]:
    """The names of the files that are sent, without directories."""
    return sorted(each.name[2:] for each in project_content(declared).members if not each.is_directory)


def test_tracked_files_are_sent_as_they_are_in_the_working_tree(repository, caplog):
    (repository / ".gitignore").write_text("*.pyc\n")
    (repository / "main.pyc").touch()
    (repository / "deleted.py").touch()
    (repository / "replaced").mkdir()
    (repository / "replaced" / "file").touch()
    git(repository, "add", ".")
    (repository / "deleted.py").unlink()
    (repository / "replaced" / "file").unlink()
    (repository / "replaced").rmdir()
    (repository / "replaced").touch()
    before = project_content(repository).entry
    assert found(repository) == [".gitignore", "main.py", "package/__init__.py"]
    assert "is sent without files that git does not track: replaced; `git add` them" in caplog.text
    (repository / "main.py").write_text("changed\n")
    assert project_content(repository).entry != before


def test_untracked_files_are_named_in_one_warning(repository, caplog):
    for name in ("a\x1b.py", "b.py", "c.py", "d.py"):
        (repository / name).touch()
    found(repository)
    found(repository)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "git does not track: a\\x1b.py, b.py, c.py, …; `git add` them" in warning


def test_a_file_that_was_added_is_noticed_at_once(repository):
    assert "new.py" not in found(repository)
    (repository / "new.py").touch()
    git(repository, "add", "new.py")
    assert "new.py" in found(repository)


def test_a_part_of_a_repository_is_a_project_of_its_own(repository):
    assert found(repository / "package") == ["__init__.py"]


def test_files_of_submodules_are_sent(repository, tmp_path):
    library = tmp_path / "library"
    library.mkdir()
    (library / "library.py").touch()
    git(library, "init", "-q")
    git(library, "add", ".")
    git(library, "commit", "-q", "-m", "first")
    git(repository, "submodule", "--quiet", "add", str(library), "vendored")
    assert found(repository) == [".gitmodules", "main.py", "package/__init__.py", "vendored/library.py"]


def test_outside_a_repository_all_files_are_sent(code):
    (code / "untracked").touch()
    assert found(code) == ["main.py", "package/__init__.py", "untracked"]


def test_without_git_all_files_are_sent_and_a_warning_says_so(repository, monkeypatch, caplog):
    (repository / "untracked").touch()
    monkeypatch.setenv("PATH", str(repository))
    assert found(repository) == ["main.py", "package/__init__.py", "untracked"]
    assert f"this machine has no git: files of {repository} that git ignores are sent, too" in caplog.text


def test_a_repository_that_git_refuses_is_an_error(repository, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(LocalFileError, match=r"git cannot list the files of the project .*: .*dubious[\s\S]*Next: run"):
        found(repository)
    monkeypatch.delenv("GIT_TEST_ASSUME_DIFFERENT_OWNER")
    shutil.rmtree(repository / ".git")
    (repository / ".git").write_text("gitdir: /missing\n")
    with pytest.raises(LocalFileError, match=r"git cannot list the files of the project .*: .*/missing"):
        found(repository)


def test_a_git_that_does_not_respond_is_an_error(repository, monkeypatch, tmp_path):
    (tmp_path / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "git").chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(project, "_GIT_TIMEOUT", 0.3)
    with pytest.raises(LocalFileError, match=r"git did not respond within 0\.3 s"):
        found(repository)


def test_the_variables_of_a_git_hook_do_not_lead_elsewhere(repository, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    assert found(repository) == ["main.py", "package/__init__.py"]


def test_what_matches_a_pattern_is_sent_unless_git_ignores_it(repository, monkeypatch):
    (repository / ".gitignore").write_text("*.pyc\n/data/\n")
    for name in ("package/x.pyc", "data/large", "notes/a.txt", "notes/deep/b.txt", "other"):
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).touch()
    monkeypatch.chdir(repository)
    assert found(["**/*.py", Path("notes")]) == ["main.py", "notes/a.txt", "notes/deep/b.txt", "package/__init__.py"]
    assert found(("package/*", "data", "*")) == found(["."])
    assert found(["."]) == [
        ".gitignore",
        *("main.py", "notes/a.txt", "notes/deep/b.txt", "other", "package/__init__.py"),
    ]


def test_a_link_is_sent_as_one_and_nothing_through_it(code, tmp_path, monkeypatch):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").touch()
    (code / "link").symlink_to(tmp_path / "outside")
    monkeypatch.chdir(code)
    assert found(["link", "link/*"]) == ["link"]
    assert found(["link/*"]) == ["link/file"]
    (code / "broken").symlink_to("missing")
    assert found(".") == ["broken", "link", "main.py", "package/__init__.py"]


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        ("missing", r"project is not a directory: missing\nNext: "),
        ("main.py", r"project is not a directory: main.py\nNext: .*list of patterns"),
        (["*.py", "*.c"], r"no file matches a pattern of project: '\*.c' in .*code\nNext: "),
        (["/etc/*"], r"invalid pattern of project: '/etc/\*'"),
        (["../*"], r"invalid pattern of project: '../\*'"),
        (5, "project must be a directory or a list of patterns: 5"),
        ([5], r"project must be a directory or a list of patterns: \[5\]"),
        ("empty", r"the project has no files to send: .*empty\nNext: "),
    ],
)
def test_a_project_that_names_no_files_is_an_error(code, monkeypatch, declared, text):
    (code / "empty").mkdir()
    monkeypatch.chdir(code)
    with pytest.raises(ConfigurationError, match=text):
        found(declared)


def test_a_fifo_is_refused(code):
    os.mkfifo(code / "fifo")
    with pytest.raises(LocalFileError, match=r"not a regular file, directory or link: .*fifo"):
        found(code)


def test_the_same_files_have_the_same_name_wherever_they_are(repository, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for name in ("main.py", "package/__init__.py"):
        (tmp_path / "elsewhere" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "elsewhere" / name).write_bytes((repository / name).read_bytes())
    git(tmp_path / "elsewhere", "init", "-q")
    git(tmp_path / "elsewhere", "add", ".")
    assert project_content(repository).entry == project_content(tmp_path / "elsewhere").entry


def test_a_changed_file_is_noticed_although_the_files_were_known(repository, monkeypatch):
    monkeypatch.setattr(content, "_SETTLED", -1.0)
    before = project_content(repository)
    assert project_content(repository) is before
    (repository / "main.py").write_text("changed\n")
    assert project_content(repository).entry != before.entry


def test_many_tasks_that_start_together_ask_git_once_and_read_the_files_once(repository, monkeypatch):
    asked, read, run_git, sha256 = [], [], project._run_git, content.sha256
    monkeypatch.setattr(project, "_run_git", lambda *words: (asked.append(words), run_git(*words))[1])
    monkeypatch.setattr(content, "sha256", lambda data: (read.append(data), sha256(data))[1])
    monkeypatch.setattr(project, "_REMEMBERED", 60.0)
    monkeypatch.setattr(content, "_SETTLED", -1.0)
    threads = [threading.Thread(target=project_content, args=(repository,)) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == len(set(asked)) == 3
    assert len(read) == 1
