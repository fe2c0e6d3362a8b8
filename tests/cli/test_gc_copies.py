"""`luigi-sshjob gc` removes local copies that were not used for the time it is given."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from luigi_sshjob.cli.main import main
from luigi_sshjob.ssh.local.file_lock import FileLock
from luigi_sshjob.targets.local_copies import copies_directory

from support import processes

DAY = 24 * 3600


@pytest.fixture
def gc(host, capsys):
    """Returns a function that runs `gc HOST` and returns what it prints on stderr."""

    def gc(*words: str) -> str:
        assert main(["gc", host.alias, *words]) == 0
        return capsys.readouterr().err

    return gc


def entry(copy: Path) -> Path:
    return copy.parent.parent


def age(copy: Path, days: float) -> None:
    used = time.time() - days * DAY
    os.utime(entry(copy) / "record", (used, used))


@pytest.fixture
def copies(host, files, folder):
    """Two copies: of a file, last used 20 days ago, and of a directory, used 10 days ago."""
    host.run("sh", "-c", f"mkdir {folder}/tree; echo x >{folder}/tree/file; chmod 555 {folder}/tree")
    found = [Path(files.localize(path)) for path in (f"{folder}/tree/file", f"{folder}/tree")]
    for copy, days in zip(found, (20, 10), strict=True):
        age(copy, days)
    yield found
    host.run("chmod", "755", f"{folder}/tree")


def test_copies_unused_for_the_time_are_removed_and_others_are_kept(copies, gc):
    assert gc("--dry-run") == "1 local copy would be removed\n0 would be removed\n"
    assert [copy.exists() for copy in copies] == [True, True]
    assert gc() == "1 local copy removed\n0 removed\n"
    assert [copy.exists() for copy in copies] == [False, True]
    assert gc() == "0 removed\n"
    assert gc("--older-than", "9d") == "1 local copy removed\n0 removed\n"
    assert list(copies_directory().iterdir()) == []


def test_a_copy_that_was_used_again_is_kept(copies, files, folder, gc):
    path = f"{folder}/tree/file"
    processes.wait_until(lambda: files._commands.version(path).settled, "the time of the file to be settled")
    for days in (20, 0):
        assert files.localize(path) == str(copies[0])
        if days:
            age(copies[0], days)
    assert gc() == "0 removed\n"
    assert copies[0].exists()


def test_a_path_that_a_process_looks_at_is_left_alone(copies, gc):
    lock = FileLock(entry(copies[0]).parent / "lock")
    assert lock.try_acquire()
    assert gc() == "0 removed\n"
    lock.release()
    assert gc() == "1 local copy removed\n0 removed\n"


def test_copies_of_other_hosts_are_kept(copies, capsys):
    main(["gc", "other.invalid", "--older-than", "0s"])
    assert "local cop" not in capsys.readouterr().err
    assert [copy.exists() for copy in copies] == [True, True]


@pytest.mark.needs("logins")
def test_copies_of_a_host_that_cannot_be_reached_are_removed(copies, host, capsys):
    record = entry(copies[0]) / "record"
    record.write_text(record.read_text().replace(host.alias, "gone.invalid"))
    age(copies[0], 20)
    assert main(["gc", "gone.invalid"]) != 0
    assert "1 local copy removed" in capsys.readouterr().err
    assert not copies[0].exists()


def test_damaged_copies_and_leftovers_of_killed_processes_are_removed(copies, gc):
    record = entry(copies[0]) / "record"
    record.write_text("{")
    age(copies[0], 20)
    leftover = entry(copies[1]).parent / f".sshjob-tmp.{'0' * 16}"
    leftover.mkdir()
    os.utime(leftover, (time.time() - 2 * DAY,) * 2)
    assert gc() == "1 local copy removed\n0 removed\n"
    assert not leftover.exists()
    assert [copy.exists() for copy in copies] == [False, True]
