"""Certificates of users and hosts, signed by an authority of the test."""

from __future__ import annotations

import subprocess

import pytest

from luigi_sshjob import RemoteContext
from luigi_sshjob.errors import LoginRefused

from support.settings import both_transports, configure

pytestmark = [both_transports, pytest.mark.needs_docker]


@pytest.fixture
def authority(tmp_path):
    """The private key of an authority."""
    path = tmp_path / "authority"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@pytest.fixture
def certified_host(special_bench, authority):
    """A host that trusts the authority, and no single key."""
    host = special_bench().host
    host.run("sh", "-c", "cat >/etc/ssh/ca.pub", user="root", input=authority.with_suffix(".pub").read_text())
    host.configure_sshd("TrustedUserCAKeys /etc/ssh/ca.pub\nAuthorizedKeysFile none", first=True)
    return host


def sign(authority, key, name: str, *options: str) -> None:
    command = ["ssh-keygen", "-q", "-s", authority, "-I", "test", "-n", name, *options, key.with_suffix(".pub")]
    subprocess.run(command, check=True)


def test_a_certificate_next_to_the_key_is_used_and_an_expired_one_is_named(certified_host, authority, tmp_path):
    host = certified_host
    sign(authority, host.key_file, "job", "-V", "-2d:-1d")
    with pytest.raises(LoginRefused, match="certificate of the key has expired") as caught:
        RemoteContext(host.alias).check_output(["true"])
    assert f"{host.key_file}-cert.pub was valid until 20" in caught.value.problem
    assert caught.value.code == "certificate-expired"
    sign(authority, host.key_file, "job", "-V", "+1h")
    # another configuration, because the refusal of this one is remembered for a while
    path = tmp_path / "config"
    path.write_text(f"ServerAliveInterval 7\n{host.ssh_config.read_text()}")
    configure(ssh_config=path)
    assert RemoteContext(host.alias).check_output(["echo in"]) == b"in\n"


def test_a_certificate_file_of_the_configuration_is_used(certified_host, authority, tmp_path):
    host = certified_host
    sign(authority, host.key_file, "job", "-V", "+1h")
    moved = (host.root / f"{host.key_file.name}-cert.pub").rename(tmp_path / "elsewhere")
    path = tmp_path / "config"
    path.write_text(f"CertificateFile {moved}\n{host.ssh_config.read_text()}")
    configure(ssh_config=path)
    assert RemoteContext(host.alias).check_output(["echo in"]) == b"in\n"


def test_a_certificate_that_only_the_agent_holds_is_used(certified_host, authority, agent, tmp_path):
    host = certified_host
    sign(authority, host.key_file, "job", "-V", "+1h")
    subprocess.run(["ssh-add", "-q", host.key_file], check=True, stdin=subprocess.DEVNULL)
    path = tmp_path / "config"
    path.write_text(host.ssh_config.read_text().replace(str(host.key_file), "/no/key").replace("sOnly yes", "sOnly no"))
    configure(ssh_config=path)
    (host.root / f"{host.key_file.name}-cert.pub").unlink()
    assert RemoteContext(host.alias).check_output(["echo in"]) == b"in\n"


def test_a_host_certificate_is_trusted_or_the_error_says_that_paramiko_cannot(
    special_bench, authority, transport, tmp_path
):
    host = special_bench().host
    sign(authority, host.host_key, "127.0.0.1", "-h", "-V", "+1h")
    certificate = (host.root / f"{host.host_key.name}-cert.pub").read_text()
    host.run("sh", "-c", "cat >/etc/ssh/host-cert.pub", user="root", input=certificate)
    host.configure_sshd("HostCertificate /etc/ssh/host-cert.pub", first=True)
    known = f"@cert-authority [127.0.0.1]:{host.port} {authority.with_suffix('.pub').read_text()}"
    host.known_hosts.write_text(known)
    if transport == "openssh":
        assert RemoteContext(host.alias).check_output(["echo in"]) == b"in\n"
        return
    with pytest.raises(LoginRefused, match="certificate cannot be checked by paramiko") as caught:
        RemoteContext(host.alias).check_output(["true"])
    assert "use the transport openssh" in caught.value.next_step
