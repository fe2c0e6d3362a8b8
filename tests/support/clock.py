"""A clock that tests set, for what judges by the time that has passed."""

from __future__ import annotations

import time

import pytest


class Clock:
    """Replaces `time.monotonic()` until the test ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
