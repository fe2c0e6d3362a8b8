"""File locks."""

from __future__ import annotations

import os
import signal
import time

from luigi_sshjob.ssh.local.file_lock import FileLock


def test_a_lock_is_free_when_released_also_if_a_fork_copied_it(tmp_path):
    lock = FileLock(tmp_path / "lock")
    assert lock.try_acquire()
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    try:
        assert not FileLock(tmp_path / "lock").try_acquire()
        lock.release()
        assert FileLock(tmp_path / "lock").try_acquire()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
