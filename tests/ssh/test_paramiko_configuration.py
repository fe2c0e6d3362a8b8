"""What paramiko cannot do with an ssh configuration is an error, before anything is sent."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from luigi_sshjob import RemoteContext
from luigi_sshjob.errors import ConfigurationError

from support.settings import add_ssh_config, configure

LOGIN = """
import sys, luigi
from luigi_sshjob import RemoteContext
for name, value in {"ssh_config": sys.argv[1], "runtime_dir": sys.argv[2], "transport": sys.argv[4]}.items():
    luigi.configuration.get_config().set("sshjob", name, value)
print(RemoteContext(sys.argv[3]).check_output(["echo in"]))
"""


@pytest.fixture(autouse=True)
def paramiko(luigi_cfg):
    configure(transport="paramiko")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Include {folder}/blocks", "has a Host or Match, but its Include is in one"),
        ("Include {folder}/itself", "more than 16 times"),
        ("Include /keys/%h", "Include /keys/%h: paramiko does not expand it"),
        ("Include ${{HOME}}/more", "paramiko does not expand it"),
        ('Include "/keys/open', "No closing quotation"),
        ("Host 'unbalanced", "Unparsable host"),
    ],
)
def test_what_paramiko_cannot_read_is_refused(host, luigi_cfg, tmp_path, line, words):
    (tmp_path / "blocks").write_text("Host another\n  Port 1\n")
    (tmp_path / "itself").write_text(f"Include {tmp_path}/itself\n")
    add_ssh_config(luigi_cfg, f"Host {host.alias}\n{line.format(folder=tmp_path)}")
    with pytest.raises(ConfigurationError, match=words) as caught:
        RemoteContext(host.alias).check_output(["true"])
    assert caught.value.host == host.alias


def test_match_exec_needs_a_package_that_may_be_missing(host, luigi_cfg, monkeypatch):
    monkeypatch.setattr("paramiko.config.invoke", None)
    monkeypatch.setattr("paramiko.config.invoke_import_error", ImportError())
    add_ssh_config(luigi_cfg, 'Match exec "true"')
    with pytest.raises(ConfigurationError, match="for Match exec paramiko needs the package invoke"):
        RemoteContext(host.alias).check_output(["true"])


def test_the_systems_file_may_have_what_paramiko_does_not_know(host, luigi_cfg, tmp_path):
    (tmp_path / "ssh_config").write_text("Match final all\n  Compression yes\n")
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text(host.ssh_config.read_text())
    replaced = 'mount --bind "$0" /etc/ssh/ssh_config && exec "$@"'
    arguments = ["", luigi_cfg.runtime_dir, host.alias, "paramiko"]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", replaced, tmp_path / "ssh_config", sys.executable, "-c", LOGIN, *arguments],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "b'in\\n'", done.stderr
    assert "paramiko ignores /etc/ssh/ssh_config: invalid ssh configuration" in done.stderr


def log_in_without_an_entry_in_the_user_database(luigi_cfg, alias, transport, home):
    arguments = [luigi_cfg.ssh_config, luigi_cfg.runtime_dir, alias, transport]
    # without nsswitch.conf also a name service that knows root is not asked
    hidden = 'for f in passwd nsswitch.conf; do mount --bind /dev/null /etc/$f || exit; done; exec "$@"'
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", hidden, "sh", sys.executable, "-c", LOGIN, *arguments],
        env={**os.environ, "USER": "somebody", "HOME": str(home)},
        capture_output=True,
        text=True,
    )


def test_an_account_without_an_entry_in_the_user_database_logs_in_with_paramiko(host, luigi_cfg, tmp_path):
    done = log_in_without_an_entry_in_the_user_database(luigi_cfg, host.alias, "paramiko", tmp_path)
    assert done.stdout.strip() == "b'in\\n'", done.stderr
    # ssh refuses to run, and the error says what helps
    done = log_in_without_an_entry_in_the_user_database(luigi_cfg, host.alias, "openssh", tmp_path)
    assert "LoginMisconfigured" in done.stderr
    assert "use the transport paramiko with USER and HOME in the environment" in done.stderr
