"""Programs are started by one thread while another one forks, as Luigi's worker does for each task."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading

import pytest

from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import LocalResourceError
from luigi_sshjob.ssh.local.starting import start_thread
from luigi_sshjob.ssh.transports.session_process import spawn

from support.process_limit import process_limit


def test_a_process_that_is_forked_meanwhile_does_not_delay_the_start_of_a_program():
    count = 300
    started: list[int] = []

    def start() -> None:
        for _ in range(count):
            with spawn(Destination("host"), subprocess.Popen, ["true"]) as process:
                started.append(process.wait())

    starter = threading.Thread(target=start, daemon=True)
    waiting, release = os.pipe()
    children = []
    starter.start()
    try:
        while starter.is_alive() and len(children) < count:
            pid = os.fork()
            if pid == 0:
                # as a task that waits for its host
                os.close(release)
                os.read(waiting, 1)
                os._exit(0)
            children.append(pid)
        starter.join(30)
        assert started == [0] * count
    finally:
        os.close(release)
        for pid in children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        os.close(waiting)
        starter.join(10)


def test_a_thread_that_cannot_be_started_is_an_error_with_the_limit():
    with process_limit() as limit, limit.around_this_process():
        limit.set(1)
        with pytest.raises(LocalResourceError, match=r"no thread can be started on this machine\n.*ulimit -u"):
            start_thread(print)
