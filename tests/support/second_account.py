"""A second account on a host in a container, which logs in with the same key."""

from __future__ import annotations

from support.hosts import DockerHost

NAME = "other"


def add_account(host: DockerHost) -> str:
    """Make the account, and return the alias of a login as it in the host's ssh configuration."""
    keys = f"install -d -o {NAME} -g {NAME} -m 700 /home/{NAME}/.ssh && cd /home/{NAME}/.ssh"
    keys += f" && install -o {NAME} -g {NAME} -m 600 {host.home}/.ssh/authorized_keys ."
    make = f"useradd --create-home --shell /bin/bash --password '*' {NAME}"
    host.run("sh", "-c", f"getent passwd {NAME} >/dev/null || {{ {make} && {keys}; }}", user="root")
    alias = f"{host.alias}-{NAME}"
    text = host.ssh_config.read_text()
    if alias not in text:
        again = text.replace(f"Host {host.alias}\n", f"Host {alias}\n", 1)
        host.ssh_config.write_text(text + again.replace(f"  User {host.username}\n", f"  User {NAME}\n"))
    return alias
