"""Fixtures of the tests of logins."""

from __future__ import annotations

import subprocess

import pytest

from support import processes
from support.settings import configure


@pytest.fixture
def refused_key(host, luigi_cfg, tmp_path):
    """A client configuration with a key that the host does not accept."""
    other = tmp_path / "other_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    path = tmp_path / "refused_config"
    path.write_text(host.ssh_config.read_text().replace(str(host.key_file), str(other)))
    configure(ssh_config=path)


@pytest.fixture
def agent(tmp_path, monkeypatch):
    """An ssh-agent of the test's own."""
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    processes.wait_until(path.exists, "the agent")
    yield
    process.terminate()
    process.wait()
