"""Both transports: tunnels to a web server on the host."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import multiprocessing
import os
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from luigi_sshjob.errors import ConnectionFailed

from support import processes
from support.hosts import free_port
from support.settings import both_transports

pytestmark = both_transports
fork = multiprocessing.get_context("fork")


@pytest.fixture
def web(host, folder):
    """The port of an HTTP server that only the host itself can reach; it serves `folder`."""
    host.run("sh", "-c", f"head -c 3000000 /dev/urandom >{folder}/large; echo small >{folder}/small")
    # another test may run on this machine
    port = 8631 if host.kind == "docker" else free_port()
    if host.kind == "docker":
        server = f"busybox httpd -f -p 127.0.0.1:{port} -h {folder}"
    else:
        server = f"{sys.executable} -m http.server --bind 127.0.0.1 --directory {folder} {port}"
    host.run("sh", "-c", f"setsid {server} >/dev/null 2>&1 </dev/null &")
    yield port
    host.run("kill", *[str(pid) for pid, args in host.processes() if args == server])


def get(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == 200
        return response.read()


def responds(port: int) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException, AssertionError):
        return get(port, "/small") == b"small\n"
    return False


def test_http_goes_through_a_tunnel_and_its_port_is_closed_after_it(host, context, web, folder):
    context.check_output(["true"])
    logins = host.accepted_logins()
    large = host.run("sha256sum", f"{folder}/large").split()[0]
    with context.tunnel(0, web, "127.0.0.1") as port:
        processes.wait_until(lambda: responds(port), "the server")
        found: list[bytes] = []
        threads = [threading.Thread(target=lambda: found.append(get(port, "/large"))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {hashlib.sha256(body).hexdigest() for body in found} == {large}
        assert len(found) == 4
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=10)
    assert host.accepted_logins() == logins


def copies_of(port: int) -> list[int]:
    """Copies of the descriptors of this process that listen on the port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and int(row[1].partition(":")[2], 16) == port}
    own = Path("/proc/self/fd")
    # without the descriptor of listdir itself, which is closed now
    there = [name for name in os.listdir(own) if os.path.islink(own / name)]
    return [os.dup(int(name)) for name in there if os.readlink(own / name) in listening]


def test_a_tunnels_port_is_closed_after_an_exception_and_while_a_child_lives(context, web):
    lingering = fork.Process(target=time.sleep, args=(60,))
    port, copies = 0, []

    def raise_in_the_block() -> None:
        nonlocal port, copies
        with context.tunnel(0, web, "127.0.0.1") as port:
            processes.wait_until(lambda: responds(port), "the server")
            lingering.start()
            # as in a child that has just been forked
            copies = copies_of(port)
            raise KeyError

    with pytest.raises(KeyError):
        raise_in_the_block()
    try:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=10)
    finally:
        lingering.kill()
        lingering.join()
        for copy in copies:
            os.close(copy)


def test_a_tunnel_uses_the_given_port_or_reports_that_it_is_taken(context, web):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConnectionFailed, match=r"Next: check that the local port is free"),
            context.tunnel(port, web, "127.0.0.1"),
        ):
            pass
    with context.tunnel(port, web, "127.0.0.1") as given:
        assert given == port
        processes.wait_until(lambda: responds(port), "the server")


def test_a_tunnel_survives_refused_connections(host, context, web):
    with context.tunnel(0, 9, "127.0.0.1") as port:
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                assert client.recv(10) == b""
        assert context.check_output(["echo on"]) == b"on\n"
