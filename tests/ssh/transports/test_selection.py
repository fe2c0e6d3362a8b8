"""The choice of a transport, and what only one of them supports."""

from __future__ import annotations

import os
import subprocess
import sys

import luigi
import luigi.format
import pytest

from luigi_sshjob import RemoteContext, RemoteFileSystem, RemoteJobTask, RemoteTarget
from luigi_sshjob.errors import ConfigurationError, LoginRefused
from luigi_sshjob.tasks.options import JobOptions

from support.settings import both_transports, configure


def kind(context: RemoteContext) -> str:
    return type(context.connection.transport).__name__


def test_a_transport_is_chosen_by_setting_option_or_task(host, luigi_cfg):
    class Task(RemoteJobTask):
        host = "box"
        transport = "paramiko"

    assert kind(RemoteContext("box")) == "OpenSSHTransport"
    assert kind(RemoteContext("box", transport="paramiko")) == "ParamikoTransport"
    assert kind(Task().remote_context) == kind(Task().output()["log"].fs.remote_context) == "ParamikoTransport"
    configure(transport="paramiko")
    assert kind(RemoteContext("box")) == "ParamikoTransport"
    assert kind(RemoteContext("box", transport="openssh")) == "OpenSSHTransport"


def test_an_unknown_transport_is_refused_with_the_known_ones(luigi_cfg):
    with pytest.raises(ConfigurationError, match=r"unknown ssh transport: 'telnet'[\s\S]*Next: .*openssh, paramiko"):
        RemoteContext("box", transport="telnet").check_output(["true"])


def test_a_missing_extra_is_reported_with_the_command_to_install_it(luigi_cfg):
    script = (
        "import sys\nsys.modules['paramiko'] = None\nfrom luigi_sshjob import RemoteContext\n"
        "from luigi_sshjob.errors import ConfigurationError\n"
        "try:\n  RemoteContext('box', transport='paramiko').check_output(['true'])\n"
        "except ConfigurationError as error: print(error)"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "pip install luigi-sshjob[paramiko]" in output


def test_openssh_does_not_need_the_extra(host, luigi_cfg):
    script = (
        "import sys\nsys.modules['paramiko'] = sys.modules['sshtunnel'] = None\n"
        f"from luigi_sshjob import RemoteContext\nc = RemoteContext({host.alias!r})\n"
        "print(c.check_output(['echo in']))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout == b"b'in\\n'\n"


def test_unsupported_options_are_refused_with_an_alternative(luigi_cfg):
    with pytest.raises(ConfigurationError, match=r"a password function[\s\S]*SSHPASS[\s\S]*paramiko"):
        RemoteContext("box", password=lambda prompt: "x").check_output(["true"])
    with pytest.raises(ConfigurationError, match=r"no local command[\s\S]*openssh"):
        RemoteContext("box", transport="paramiko")._prepare_cmd(["true"])
    configure(existing_master="require")
    with pytest.raises(ConfigurationError, match=r"existing_master[\s\S]*openssh"):
        RemoteContext("box", transport="paramiko").check_output(["true"])


def test_a_password_must_be_a_function(luigi_cfg):
    with pytest.raises(ConfigurationError, match="must be a function"):
        RemoteContext("box", transport="paramiko", password="secret")


@pytest.mark.needs_docker
@pytest.mark.parametrize("method", ["password", "questions", "key and password"])
def test_the_password_function_responds_to_prompts(special_bench, method):
    host = special_bench().host
    host.run("sh", "-c", "echo 'job:four words of it' | chpasswd", user="root")
    host.configure_sshd(
        {
            "password": "PasswordAuthentication yes\nPubkeyAuthentication no\nKbdInteractiveAuthentication no",
            "questions": "PasswordAuthentication no\nPubkeyAuthentication no\nKbdInteractiveAuthentication yes",
            "key and password": "PasswordAuthentication yes\nAuthenticationMethods publickey,password",
        }[method],
        first=True,
    )
    prompts = []

    def respond(prompt: str) -> str:
        prompts.append(prompt)
        return "four words of it"

    context = RemoteContext(host.alias, transport="paramiko", password=respond)
    assert context.check_output(["id -un"]) == b"job\n"
    assert len(prompts) == 1
    assert "assword" in prompts[0]
    # even with another function object each time, as from a property
    options = {**context.options, "password": lambda prompt: respond(prompt)}
    assert RemoteFileSystem(host.alias, **options).exists("/")
    assert len(prompts) == 1


@pytest.mark.needs_docker
def test_a_failing_password_function_is_reported(special_bench):
    host = special_bench().host
    host.configure_sshd("KbdInteractiveAuthentication yes\nPubkeyAuthentication no", first=True)

    def respond(prompt: str) -> str:
        raise RuntimeError("nobody at the terminal")

    with pytest.raises(LoginRefused, match="nobody at the terminal"):
        RemoteContext(host.alias, transport="paramiko", password=respond).check_output(["true"])


@both_transports
@pytest.mark.needs_docker
def test_rekeying_does_not_interrupt_a_stream(special_bench, transport):
    host = special_bench().host
    host.configure_sshd("RekeyLimit 4M")
    data = os.urandom(1 << 20) * 40
    for _ in range(3):
        target = RemoteTarget("stream", host.alias, format=luigi.format.Nop)
        with target.open("w") as out:
            out.write(data)
        with target.open() as reader:
            assert reader.read() == data
    assert host.accepted_logins() == 1


@both_transports
def test_a_task_runs_over_its_own_transport(host, luigi_cfg, transport):
    """The other transport is the setting."""
    configure(transport={"openssh": "paramiko", "paramiko": "openssh"}[transport])
    name = transport

    class Whole(RemoteJobTask):
        base_dir = f"jobs-{name}"
        transport = name

        def command(self):
            return "echo from the job"

    Whole.host = host.alias
    try:
        assert luigi.build([Whole()], local_scheduler=True)
        with Whole().output()["log"].open() as log:
            assert log.read() == "from the job\n"
        kill = JobOptions.of(Whole()).host_jobs().client.command_line("kill", Whole().job.ref)
        assert f"--transport {name} " in kill
    finally:
        host.run("rm", "-rf", f"jobs-{name}")
