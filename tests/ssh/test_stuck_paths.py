"""A mount whose server is gone delays nothing but the questions about its own paths."""

from __future__ import annotations

import os
import shutil
import threading
import time
from functools import partial

import luigi
import pytest

from luigi_sshjob import RemoteBulkComplete, RemoteTarget
from luigi_sshjob.errors import RemoteCommandFailed
from luigi_sshjob.jobs.spec import JobSpec, Output
from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.connection import close_shells

from support import processes
from support.jobs import Bench
from support.loopback_host import LoopbackHost
from support.session import SESSION
from support.settings import configure
from support.stuck_mount import StuckMount

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0 or not os.path.exists("/dev/fuse"), reason="needs root and /dev/fuse"),
    pytest.mark.skipif(shutil.which("sshd", path="/usr/sbin:/sbin") is None, reason="needs an sshd on this machine"),
]

LIMIT = 2.0
SLOW = LIMIT + 4  # with the search for the directory that does not respond


@pytest.fixture(scope="module")
def host(pytestconfig):
    host = LoopbackHost(pytestconfig.stash[SESSION].root / "stuck")
    host.start()
    yield host
    host.stop()


@pytest.fixture
def mount(luigi_cfg, tmp_path):
    configure(path_timeout=LIMIT)
    mount = StuckMount(tmp_path / "mount")
    yield mount
    mount.close()


@pytest.fixture(params=["stop", "silence"])
def stuck(request, mount, files):
    """The mount, stuck after a first question; processes that wait for it can be killed or cannot."""
    assert files.exists(f"{mount.path}/file")
    getattr(mount, request.param)()
    return mount


def left_behind(host) -> list[str]:
    """The processes that belong to servers of sessions."""
    return [args for _, args in host.processes() if args.endswith("sh -s")]


def assert_stuck(question, path: str) -> float:
    since = time.monotonic()
    with pytest.raises(RemoteCommandFailed) as caught:
        question()
    assert caught.value.code == "path-not-responding"
    assert caught.value.problem.startswith("the file system does not respond")
    assert path in caught.value.problem
    assert caught.value.next_step
    return time.monotonic() - since


def test_a_stuck_path_fails_within_its_limit_and_delays_nothing_else(stuck, host, files, folder, tmp_path):
    """News of jobs arrive at once; the stuck path is named; it works again when the mount is back."""
    bench = Bench(host, "stuck")
    job = bench.submit(bench.until_released()).job
    took: list[float] = []
    question = threading.Thread(
        target=lambda: took.append(assert_stuck(lambda: files.exists(f"{stuck.path}/other"), f"{stuck.path}/other"))
    )
    question.start()
    waiting = time.monotonic()
    bench.release()
    assert bench.monitor.wait(job, lambda _: None).succeeded
    assert time.monotonic() - waiting < LIMIT
    question.join(60)
    assert LIMIT - 1 < took[0] < SLOW
    # known as stuck, with all that is on the same mount
    for path in ("file", "other", "directory/file"):
        assert assert_stuck(lambda path=path: files.exists(f"{stuck.path}/{path}"), path) < 1
    assert not files.exists(f"{folder}/none")
    assert files.exists(folder)
    stuck.resume()
    processes.wait_until(lambda: answers(files, f"{stuck.path}/file"), "the mount")
    bench.client.collect(job)


def answers(files, path: str) -> bool:
    try:
        return files.exists(path)
    except RemoteCommandFailed:
        return False


def test_many_questions_about_a_stuck_path_use_two_sessions_and_few_processes(stuck, host, files, luigi_cfg):
    before = len(left_behind(host))
    assert_stuck(lambda: files.exists(f"{stuck.path}/0"), f"{stuck.path}/0")
    after_one = len(left_behind(host))
    verbs = ("exists", "isdir", "listdir", "remove", "mkdir", "size", "reader", "writer")
    since = time.monotonic()
    for number in range(20):
        ask = getattr(files, verbs[number % len(verbs)])
        assert_stuck(partial(ask, f"{stuck.path}/{number}/x"), f"{stuck.path}/{number}")
    assert time.monotonic() - since < 20 * 0.5
    assert len(left_behind(host)) == after_one <= before + 3
    assert len(list(luigi_cfg.runtime_dir.glob("*.slot*"))) <= 2
    stuck.resume()
    processes.wait_until(lambda: answers(files, f"{stuck.path}/file"), "the mount")
    assert files.listdir(str(stuck.path)) == [f"{stuck.path}/file"]
    processes.wait_until(lambda: len(left_behind(host)) <= before, "the end of the processes")


def test_a_link_to_a_stuck_mount_is_found(stuck, host, files, folder):
    """Paths next to the link respond."""
    host.run("sh", "-c", f"ln -s {stuck.path} {folder}/link && touch {folder}/near")
    assert_stuck(lambda: files.exists(f"{folder}/link/file"), f"{folder}/link/file")
    assert assert_stuck(lambda: files.exists(f"{folder}/link/other"), f"{folder}/link/other") < 1
    assert assert_stuck(lambda: files.localize(f"{folder}/link/file"), f"{folder}/link/file") < 1
    assert files.exists(f"{folder}/near")
    stuck.resume()


def test_of_many_paths_those_that_respond_are_reported(stuck, host, files, folder, caplog):
    host.run("touch", f"{folder}/a", f"{folder}/b")
    paths = [f"{folder}/a", f"{stuck.path}/file", f"{folder}/none", f"{stuck.path}/x", f"{folder}/b"]
    for longest in (SLOW, 1):
        since = time.monotonic()
        known, error = files.exists_where_known(paths)
        assert time.monotonic() - since < longest
        assert known == [True, None, False, None, True]
        assert error is not None
        assert paths[1] in error.problem
    assert_stuck(lambda: files.exists_many(paths), paths[1])

    class OnPath(RemoteBulkComplete, luigi.Task):
        path = luigi.Parameter()

        def output(self):
            return RemoteTarget(self.path, host.alias)

    # the others are incomplete, and a warning says why
    assert OnPath.bulk_complete(paths) == [paths[0], paths[4]]
    assert f"the file system does not respond: {paths[1]}" in caplog.text
    stuck.resume()
    processes.wait_until(lambda: answers(files, paths[1]), "the mount")
    assert files.exists_many(paths) == [True, True, False, False, True]


def test_a_job_whose_outputs_are_stuck_is_collected_later(stuck, host, files, folder):
    bench = Bench(host, "late")
    output = Output("file", f"{stuck.path}/file")
    job = bench.client.submit(JobSpec(key="Task", command="true")).job
    assert bench.monitor.wait(job, lambda _: None).succeeded
    assert_stuck(lambda: bench.client.missing(job, [output.path]), output.path)
    stuck.resume()
    processes.wait_until(lambda: answers(files, output.path), "the mount")
    assert bench.client.missing(job, [output.path]) == []


def test_each_shell_gives_a_question_up(far_side, mount, folder):
    """The server goes on with the next request."""
    mount.stop()
    questions = [("fs_exists", f"{mount.path}/a"), ("fs_mkdir", f"{mount.path}/b", "yes", "no"), ("fs_exists", folder)]
    limited = [(quoting.Word("limited"), "2", *question) for question in questions]
    since = time.monotonic()
    response = far_side.call(*limited)
    assert time.monotonic() - since < SLOW
    assert "token end 0 124\n" in response
    assert "token end 1 124\n" in response
    assert "token end 2 0\n" in response
    assert response.count("token part refused 0 path-not-responding\n") == 2
    assert f"{mount.path}/b (nothing in {mount.path} can be reached)" in response
    mount.resume()


def test_a_server_that_allows_one_session_goes_on_after_the_limit(mount, host, files):
    """Then questions about paths share the session of the jobs, and the first stuck one delays their news."""
    configure(max_sessions=1)
    bench = Bench(host, "single")
    assert files.exists(f"{mount.path}/file")
    mount.silence()
    assert assert_stuck(lambda: files.exists(f"{mount.path}/a"), f"{mount.path}/a") < SLOW
    assert assert_stuck(lambda: files.exists(f"{mount.path}/b"), f"{mount.path}/b") < 1
    assert bench.run("true")[0].succeeded
    mount.resume()


def test_sessions_with_stuck_questions_end_with_their_clients(mount, host, files):
    """One after the other, clients leave no session open on the connection."""
    assert files.exists(f"{mount.path}/file")
    mount.silence()

    def open_sessions() -> int:
        log = host.log_text()
        return log.count("Starting session") - log.count("Close session")

    close_shells()
    processes.wait_until(lambda: open_sessions() == 0, "the end of the first session")
    for _ in range(3):
        assert_stuck(lambda: files.exists(f"{mount.path}/file"), f"{mount.path}/file")
        close_shells()
        processes.wait_until(lambda: open_sessions() == 0, "the end of the session")
    mount.resume()
