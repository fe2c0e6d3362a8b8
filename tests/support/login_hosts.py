"""Hosts with other ways to log in than a key."""

from __future__ import annotations

from collections.abc import Iterator

import docker

from support.hosts import DockerHost
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
