"""Hosts with other ways to log in than a key."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import docker

from support.hosts import DockerHost, free_port
from support.images import build

SECRET = "3132333435363738393031323334353637383930"  # of RFC 4226, in hexadecimal digits


class OneTimePasswordHost(DockerHost):
    """A host that asks for a one-time password (HOTP, RFC 4226) after the key; `codes` yields them."""

    kind = "otp"

    def _image(self) -> docker.models.images.Image:
        return build(self.client, "Dockerfile", "otp", stage="host", PACKAGES="libpam-oath oathtool")

    def start(self) -> None:
        super().start()
        self.run("sh", "-c", "umask 077; cat >/etc/users.oath", user="root", input=f"HOTP job - {SECRET}\n")
        rule = "auth required pam_oath.so usersfile=/etc/users.oath window=20"
        self.run("sed", "-i", f"s|^@include common-auth|{rule}|", "/etc/pam.d/sshd", user="root")
        self.configure_sshd(
            "KbdInteractiveAuthentication yes\nAuthenticationMethods publickey,keyboard-interactive", first=True
        )

    def codes(self) -> Iterator[str]:
        """The one-time passwords, in their order."""
        return iter(self.run("oathtool", "-w", "20", SECRET).split())


REALM = "SSHJOB.TEST"
KRB5_CONF = f"""
[libdefaults]
  default_realm = {REALM}
  dns_canonicalize_hostname = false
  rdns = false
  dns_lookup_kdc = false
  clockskew = 1
  udp_preference_limit = 1
[realms]
  {REALM} = {{{{
    kdc = 127.0.0.1:{{port}}
  }}}}
"""


class KerberosHost(DockerHost):
    """A host that takes Kerberos tickets only, and is its own key distribution centre (KDC)."""

    kind = "kerberos"

    def __init__(self, root: Path, client: docker.DockerClient) -> None:
        self.kdc_port = free_port()
        super().__init__(root, client=client, ports={"88/tcp": ("127.0.0.1", self.kdc_port)})

    def _image(self) -> docker.models.images.Image:
        packages = "krb5-kdc krb5-admin-server krb5-user"
        return build(self.client, "Dockerfile", "kerberos", stage="host", PACKAGES=packages)

    def start(self) -> None:
        super().start()
        self.run("sh", "-c", "cat >/etc/krb5.conf", user="root", input=KRB5_CONF.format(port=88))
        script = (
            f"kdb5_util create -s -r {REALM} -P master && krb5kdc && kadmin.local addprinc -randkey host/127.0.0.1 && "
            "kadmin.local addprinc -pw secret job && kadmin.local ktadd host/127.0.0.1"
        )
        self.run("sh", "-c", script, user="root")
        self.configure_sshd(
            "GSSAPIAuthentication yes\nGSSAPIStrictAcceptorCheck no\nPubkeyAuthentication no\n"
            "KbdInteractiveAuthentication no",
            first=True,
        )

    def client_config(self) -> str:
        """A krb5.conf for clients on this machine."""
        return KRB5_CONF.format(port=self.kdc_port)

    def ticket(self, *options: str) -> bytes:
        """The credentials cache with a new ticket."""
        self.run("kinit", "-c", "/tmp/ticket", *options, "job", input="secret\n")
        archive, _ = self._up().get_archive("/tmp/ticket")
        with tarfile.open(fileobj=io.BytesIO(b"".join(archive))) as files:
            member = files.extractfile("ticket")
            assert member is not None
            return member.read()
