"""Fixtures for the judging of jobs of a scheduler."""

from __future__ import annotations

import pytest

from support.scheduler_story import Story


@pytest.fixture
def story(monkeypatch):
    return Story(monkeypatch)
