"""Fixtures of the tests of workers."""

from __future__ import annotations

from pathlib import Path

import luigi
import pytest

from support.luigi_command import Luigi


@pytest.fixture
def folder(text_folder):
    return text_folder


@pytest.fixture
def notes(tmp_path) -> Path:
    path = tmp_path / "notes"
    path.touch()
    return path


@pytest.fixture
def some(host, folder, notes):
    """Makes a task of a class with its number."""

    def some(kind: type, number: int, script: str = "true", **more: object) -> luigi.Task:
        return kind(host=host.alias, folder=folder, notes=str(notes), number=number, script=script, **more)

    return some


@pytest.fixture
def hold(luigi_cfg, tmp_path):
    """Starts `luigi-sshjob run` on tasks of support/recording_tasks.py or support/sample_tasks.py."""
    started = []

    def hold(*arguments: str, remote_jobs: int = 60) -> Luigi:
        log = tmp_path / f"held-{len(started)}.log"
        started.append(Luigi(log, *arguments, remote_jobs=remote_jobs))
        return started[-1]

    yield hold
    for process in started:
        process.kill_all()


@pytest.fixture
def scheduler(luigid) -> list[str]:
    """Arguments that lead to luigid."""
    return ["--scheduler-port", str(luigid), "--scheduler-host", "127.0.0.1"]
