"""Logins with a password: one attempt, and no other prompt in the way."""

from __future__ import annotations

import re

import pytest

from luigi_sshjob import RemoteContext
from luigi_sshjob.errors import HostUnreachable, LoginRefused

pytestmark = pytest.mark.needs_docker


@pytest.fixture
def password_host(special_bench):
    """A host whose account has a password and no key, and which asks for it in both ways."""
    host = special_bench().host
    host.run("sh", "-c", "echo 'job:four words of it' | chpasswd && rm -r /home/job/.ssh", user="root")
    host.configure_sshd("PasswordAuthentication yes\nKbdInteractiveAuthentication yes", first=True)
    return host


def test_a_wrong_password_is_tried_once(password_host, monkeypatch):
    monkeypatch.setenv("SSHPASS", "another")
    for _ in range(2):
        with pytest.raises(LoginRefused, match="the host has refused the password"):
            RemoteContext(password_host.alias, sshpass=True).check_output(["true"])
    assert len(re.findall(r"Failed (?:password|keyboard-interactive\S*) for job", password_host.log_text())) == 1


def test_a_graphical_prompt_does_not_replace_the_password(password_host, monkeypatch, tmp_path):
    askpass = tmp_path / "askpass"
    askpass.write_text("#!/bin/sh\nexit 1\n")
    askpass.chmod(0o700)
    for name, value in {"SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":7"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SSHPASS", "four words of it")
    assert RemoteContext(password_host.alias, sshpass=True).check_output(["echo in"]) == b"in\n"


def test_maintenance_is_named_after_a_right_password_too(password_host, monkeypatch):
    password_host.run("sh", "-c", "echo back at noon >/etc/nologin", user="root")
    password_host.configure_sshd("KbdInteractiveAuthentication no", first=True)
    monkeypatch.setenv("SSHPASS", "four words of it")
    before = password_host.log_text().count("Connection from")
    with pytest.raises(HostUnreachable, match="does not let the account in at the moment: back at noon") as caught:
        RemoteContext(password_host.alias, sshpass=True).check_output(["true"])
    assert caught.value.code == "account-refused"
    assert password_host.log_text().count("Connection from") - before == 1
