from __future__ import annotations

from pathlib import Path

import pytest

from support.error_producers import Environment
from support.hosts import Host


@pytest.fixture
def env(host: Host, luigi_cfg: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Environment:
    """Fixtures that a producer of an error may use."""
    return Environment(host, monkeypatch, tmp_path)
