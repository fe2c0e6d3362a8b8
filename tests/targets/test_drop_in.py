"""Code that was written for luigi.contrib.ssh works with only its import changed, also where it handles failures."""

from __future__ import annotations

import gc
import pickle
import subprocess

import luigi.contrib.ssh
import pytest

import luigi_sshjob
from luigi_sshjob import (
    AtomicRemoteFileWriter,
    RemoteCalledProcessError,
    RemoteContext,
    RemoteFileSystem,
    RemoteTarget,
)
from luigi_sshjob.errors import ConfigurationError, ConnectionFailed

from support.settings import both_transports, configure

UNKNOWN = "no-such-host.invalid"


def test_each_name_of_luigis_module_can_be_imported():
    theirs = luigi.contrib.ssh
    names = [name for name, value in vars(theirs).items() if getattr(value, "__module__", "") == theirs.__name__]
    assert names
    assert set(names) <= set(luigi_sshjob.__all__)
    for name in names:
        assert issubclass(getattr(luigi_sshjob, name), getattr(theirs, name))


def test_luigis_writer_works_on_a_file_system_of_this_package(host, files, folder):
    with AtomicRemoteFileWriter(files, f"{folder}/new/file") as out:
        out.write(b"half")
        assert not files.exists(f"{folder}/new/file")
    assert host.run("cat", f"{folder}/new/file") == "half"


@both_transports
@pytest.mark.parametrize("kind", ["check_output", "Popen", "read", "list"])
def test_the_file_of_a_dropped_writer_is_gone_before_the_next_command(host, files, folder, kind):
    target = RemoteTarget(f"{folder}/dropped", host.alias)
    context = target.fs.remote_context
    with RemoteTarget(f"{folder}/listing.sh", host.alias).open("w") as script:
        script.write(f"ls -A {folder}\n")
    out = target.open("w")
    out.write("half" * 100_000)
    temporary = out.tmp_path
    assert temporary.startswith(folder)
    assert len(host.run("ls", "-A", folder).split()) == 2
    del out
    gc.collect()
    if kind == "check_output":
        listed = context.check_output(["ls", "-A", folder]).decode()
    elif kind == "Popen":
        listed = context.Popen(["ls", "-A", folder], stdout=subprocess.PIPE, text=True).communicate()[0]
    else:
        _ = files.listdir(folder) if kind == "list" else RemoteTarget(f"{folder}/listing.sh", host.alias).open().read()
        listed = host.run("ls", "-A", folder)
    assert listed == "listing.sh\n"


@pytest.mark.needs("openssh")
def test_the_command_line_of_a_context_comes_after_the_removal_of_a_dropped_file(host, files, folder):
    out = RemoteTarget(f"{folder}/dropped", host.alias).open("w")
    out.write("half")
    del out
    gc.collect()
    words = files.remote_context._prepare_cmd(["ls", "-A", folder])
    assert subprocess.run(words, capture_output=True, check=True).stdout == b""


@both_transports
@pytest.mark.needs("logins")
def test_a_connection_that_cannot_be_made_is_luigis_error_with_status_255(luigi_cfg):
    configure(connect_timeout=5, connect_attempts=1)
    context = RemoteContext(UNKNOWN)
    with pytest.raises(RemoteCalledProcessError, match="cannot resolve the host name") as caught:
        context.check_output(["ls"])
    error = caught.value
    assert (error.returncode, error.cmd, error.output, error.host) == (255, ["ls"], None, UNKNOWN)
    with pytest.raises(RemoteCalledProcessError) as caught:
        RemoteFileSystem(UNKNOWN).exists("/etc/passwd")
    assert caught.value.returncode == 255
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, ConnectionFailed)
    assert (str(copy), copy.returncode, copy.cmd) == (str(error), 255, ["ls"])


@both_transports
@pytest.mark.needs("logins")
def test_a_key_file_that_does_not_exist_is_luigis_error_and_a_configuration_error(host, luigi_cfg):
    context = RemoteContext(host.alias, key_file="/some/key.pub")
    with pytest.raises(RemoteCalledProcessError, match="key file not found") as caught:
        context.check_output(["ls"])
    assert isinstance(caught.value, ConfigurationError)
    assert caught.value.returncode == 255
    # it is not a failed login, after which the host would not be tried for a while
    assert RemoteContext(host.alias).check_output(["echo", "here"]) == b"here\n"


@both_transports
@pytest.mark.needs("logins")
def test_popen_without_a_connection_is_a_process_that_says_why_and_ends_with_255(luigi_cfg):
    configure(connect_timeout=5, connect_attempts=1)
    process = RemoteContext(UNKNOWN).Popen(["ls"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    output, errors = process.communicate()
    assert (process.returncode, output) == (255, "")
    assert f"host {UNKNOWN}" in errors
    assert "cannot resolve the host name" in errors
    assert "Next: check the spelling of the host" in errors


@both_transports
def test_check_output_uses_the_popen_of_a_subclass(host, luigi_cfg):
    class Prefixed(RemoteContext):
        def Popen(self, cmd, **kwargs):
            return super().Popen(["SOME=1;", *cmd], **kwargs)

    assert Prefixed(host.alias).check_output(["echo $SOME"]) == b"1\n"
    with pytest.raises(RemoteCalledProcessError) as caught:
        Prefixed(host.alias).check_output(["exit 7"])
    assert caught.value.returncode == 7


@both_transports
@pytest.mark.needs("logins")
def test_check_output_of_a_subclass_fails_with_255_without_a_connection(luigi_cfg):
    class Own(RemoteContext):
        def Popen(self, cmd, **kwargs):
            return super().Popen(cmd, **kwargs)

    configure(connect_timeout=5, connect_attempts=1)
    with pytest.raises(RemoteCalledProcessError, match="cannot resolve the host name") as caught:
        Own(UNKNOWN).check_output(["ls"])
    assert caught.value.returncode == 255


@pytest.mark.needs("logins")
def test_a_test_that_replaces_subprocess_popen_sees_the_words_of_ssh(luigi_cfg, monkeypatch):
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda words, **options: started.append(words))
    RemoteContext("some_host.invalid", username="luigi", key_file="/some/key.pub").Popen(["ls", "-l"])
    (words,) = started
    assert words[words.index("ssh") :][:3] == ["ssh", "-i", "/some/key.pub"]
    assert words[-3:] == ["luigi@some_host.invalid", "ls", "-l"]
