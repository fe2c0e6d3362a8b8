"""What a leader and its clients send each other is data: whatever arrives, no code runs and others are served."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import select
import socket
import struct
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luigi_sshjob import RemoteFileSystem, errors
from luigi_sshjob.errors import ConfigurationError, RemoteCommandFailed, SSHJobError, UnsafeValue
from luigi_sshjob.ssh.connection import close_shells
from luigi_sshjob.ssh.leader import link as link_module
from luigi_sshjob.ssh.leader import listener
from luigi_sshjob.ssh.leader.framing import MAX_RESPONSE, Decoder, InvalidMessage
from luigi_sshjob.ssh.leader.link import LeaderGone, LeaderLink
from luigi_sshjob.ssh.leader.messages import decode_reply, decode_request, encode_reply, encode_request
from luigi_sshjob.ssh.shell.remote_shell import Response, ResponsePart

FOREIGN = 54321  # an uid without an account
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)
KINDS = st.sampled_from(["request", "subscribe", "unsubscribe", "response", "error", "heartbeat", "rejected", "x"])
FRAMES = st.binary(max_size=200) | st.builds(
    lambda header, content: struct.pack(">II", len(header), len(content)) + header + content,
    st.builds(lambda kind, rest: json.dumps([kind, *rest]).encode(), KINDS, st.lists(JSON, max_size=5)) | st.binary(),
    st.binary(max_size=50),
)


@pytest.fixture
def files(host, luigi_cfg):
    """A file system whose leader is this process."""
    made = RemoteFileSystem(host.alias)
    assert made.exists("/")
    return made


def address(files) -> str:
    return files.remote_context.connection._leader_client._address


def connect(files) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address(files))
    connection.settimeout(10)
    return connection


def received(connection: socket.socket):
    """The first reply that is not a heartbeat; None if the leader has closed the connection."""
    decoder = Decoder(MAX_RESPONSE)
    while data := connection.recv(1 << 16):
        for message in decoder.feed(data):
            if (reply := decode_reply(*message))[0] != "heartbeat":
                return reply
    return None


def through(decoder: Decoder, message: bytes):
    (decoded,) = decoder.feed(message)
    return decoded


@given(
    st.integers(),
    st.binary(max_size=100),
    st.lists(st.builds(ResponsePart, st.text(), st.integers(), st.text(), st.binary(max_size=50)), max_size=5),
)
def test_a_response_arrives_as_it_was_sent(status, output, parts):
    response = Response(status, output, tuple(parts))
    message = through(Decoder(MAX_RESPONSE), encode_reply("response", 7, response))
    assert decode_reply(*message) == ("response", 7, response)


@pytest.mark.parametrize(
    "kind",
    [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SSHJobError)],
    ids=lambda kind: kind.__name__,
)
def test_an_error_of_this_package_arrives_with_its_attributes(kind):
    special = {"path": "/a\udcff"} if kind in (errors.FileMissing, errors.PathIsDirectory) else {}
    error = kind("it failed", host="h", job="T/1", doing="testing", next_step="go\non", code="c", **special)
    if isinstance(error, RemoteCommandFailed):
        error.returncode, error.cmd, error.output = 7, "verb", b"\xff\0"
    name, number, copy = decode_reply(*through(Decoder(MAX_RESPONSE), encode_reply("error", 3, error)))
    assert (name, number, type(copy)) == ("error", 3, kind)
    for attribute in (
        "problem",
        "host",
        "job",
        "doing",
        "next_step",
        "code",
        "errno",
        "filename",
        "returncode",
        "output",
    ):
        assert getattr(copy, attribute, None) == getattr(error, attribute, None)
    assert str(copy) == str(error)


def test_an_error_of_the_operating_system_arrives_as_one():
    error = OSError(28, "No space left on device", "/x")
    _, _, copy = decode_reply(*through(Decoder(MAX_RESPONSE), encode_reply("error", 3, error)))
    assert (type(copy), copy.errno, copy.strerror, copy.filename) == (OSError, 28, error.strerror, "/x")


@settings(max_examples=500)
@given(st.lists(FRAMES, max_size=3), st.integers(1, 50))
def test_any_bytes_are_messages_or_invalid(frames, size):
    data = b"".join(frames)
    for decode in (decode_request, decode_reply):
        decoder = Decoder(10_000)
        try:
            for start in range(0, len(data), size):
                for message in decoder.feed(data[start : start + size]):
                    decode(*message)
        except InvalidMessage:
            continue


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(FRAMES, min_size=1, max_size=3) | st.just([struct.pack(">I", 60) + pickle.dumps(Bomb())]))
def test_whatever_a_client_sends_the_leader_serves_the_others(files, tmp_path, monkeypatch, frames):
    monkeypatch.chdir(tmp_path)
    leader = files.remote_context.connection._leader_client._leader
    with connect(files) as connection:
        connection.sendall(b"".join(frames))
        assert files.exists("/")
    assert leader.alive
    assert not os.path.exists("exploded")


@settings(max_examples=60, deadline=None)
@given(st.lists(FRAMES, max_size=3))
def test_whatever_a_leader_sends_its_client_gets_an_error_of_this_package(frames):
    ours, leaders = socket.socketpair()
    link = LeaderLink(ours, None)
    number = link.send("request", "echo_back x")
    leaders.sendall(b"".join(frames))
    leaders.close()
    try:
        assert isinstance(link.response(number), Response)
    except (LeaderGone, SSHJobError, OSError):
        pass
    finally:
        link.close()


def test_a_message_too_large_is_refused_by_the_leader_and_by_the_client_before_it_is_sent(files, monkeypatch):
    with connect(files) as connection:
        connection.sendall(struct.pack(">II", 1 << 31, 0))
        assert received(connection) is None
    monkeypatch.setattr(link_module, "MAX_REQUEST", 10_000)
    with pytest.raises(UnsafeValue, match="a request is too large"):
        files.exists("/" + "x" * 10_000)
    assert files.exists("/")


def test_a_client_that_does_not_read_is_disconnected_before_it_costs_much_memory(files, monkeypatch):
    monkeypatch.setattr(listener, "_MAX_UNSENT", 1 << 20)
    with connect(files) as connection:
        text = f"echo_back {'x' * 100_000}"
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(b"".join(encode_request("request", number, text) for number in range(500)))
        closed = select.poll()
        closed.register(connection, 0)  # POLLHUP is always reported
        assert closed.poll(10_000)
    assert files.exists("/")


@pytest.mark.skipif(os.geteuid() != 0, reason="changes the account of a process")
def test_a_process_of_another_account_is_not_served(files):
    directory = os.path.dirname(address(files))
    client = f"""
import os, socket
os.chdir({directory!r})
os.setgid({FOREIGN}), os.setuid({FOREIGN})
connection = socket.socket(socket.AF_UNIX)
connection.connect({os.path.basename(address(files))!r})
connection.settimeout(10)
try:
    connection.sendall({encode_request("request", 1, "echo_back x")!r})
    print(connection.recv(100))
except (BrokenPipeError, ConnectionResetError):
    print(b"")
"""
    with connect(files) as own:
        own.sendall(encode_request("request", 1, "echo_back x"))
        assert received(own)[2].text == "x"
    try:
        # as if the directory were not private
        os.chmod(directory, 0o711)
        os.chmod(address(files), 0o777)
        result = subprocess.run([sys.executable, "-c", client], capture_output=True, text=True, cwd="/")
    finally:
        os.chmod(directory, 0o700)
    assert (result.stdout, result.stderr) == ("b''\n", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="changes the account of a process")
def test_a_leader_of_another_account_gets_no_request(files):
    path = address(files)
    close_shells()
    leader = f"""
import os, socket, sys
listening = socket.socket(socket.AF_UNIX)
listening.bind({path!r})
os.chmod({path!r}, 0o777)
os.setgid({FOREIGN}), os.setuid({FOREIGN})
listening.listen(5)
print("listens", flush=True)
print(listening.accept()[0].recv(100), flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", leader], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "listens\n"
        with pytest.raises(ConfigurationError, match="a process of another account listens"):
            files.exists("/")
        assert process.stdout.readline() == "b''\n"
    finally:
        process.kill()
        process.communicate()
        os.unlink(path)
    assert files.exists("/")


def test_a_planted_link_is_not_followed_as_a_lock(files, tmp_path):
    lock = files.remote_context.connection._leader_client._lock_path
    close_shells()
    target = tmp_path / "target"
    lock.symlink_to(target)
    started = time.monotonic()
    with pytest.raises(SSHJobError):
        files.exists("/")
    assert time.monotonic() - started < 15
    assert not target.exists()
    lock.unlink()
    assert files.exists("/")
