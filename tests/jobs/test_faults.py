"""Faults between a worker and its job: killed workers, interrupted connections, restarted servers."""

from __future__ import annotations

import multiprocessing
import threading
import time

import pytest

from luigi_sshjob.jobs.model import State
from luigi_sshjob.retry import Retry
from luigi_sshjob.ssh.shell.remote_shell import RemoteShell, request_text

from support import processes
from support.settings import both_transports, configure

fork = multiprocessing.get_context("fork")


@pytest.mark.needs_docker
@pytest.mark.parametrize("how", ["before", "after", "hold"])
def test_a_worker_killed_at_any_step_of_submit_costs_nothing(bench, shim, ledger, how):
    """Its remote shell is killed before or after that step, or continues without it; the next worker finds the job."""
    command = f"echo run >>{ledger}; sleep 0.2"
    steps = 0
    while True:
        steps += 1
        bench.key = f"Step{steps}"
        shim.arm(steps, how)
        worker = fork.Process(target=bench.submit, args=(command,))
        worker.start()
        processes.wait_until(lambda worker=worker: shim.reached() or not worker.is_alive(), f"step {steps}")
        # a launch is not waited for
        processes.wait_until(lambda: shim.reached() or shim.idle(), "what the worker has begun")
        reached = shim.reached()
        worker.kill()
        worker.join()
        shim.disarm()
        job = bench.submit(command).job
        assert bench.monitor.wait(job, lambda _: None).succeeded
        bench.client.collect(job)
        processes.wait_until(lambda: not bench.running("supervise.sh"), "the end of all supervisors")
        assert bench.host.run("cat", ledger) == "run\n" * steps
        assert job.attempt == 1
        if not reached:
            break
    # stage, claim and launch: fewer means that nothing was stopped
    assert steps > 3


@both_transports
def test_a_connection_cut_anywhere_during_submit_costs_nothing(proxy, bench, ledger):
    command = f"echo run >>{ledger}\n: {'x' * 20_000}"
    bench.submit(command)
    bench.client._connection.transport.close()
    before = proxy.sent, proxy.received
    bench.key = "Measured"
    bench.submit(command)
    sent, received = proxy.sent - before[0], proxy.received - before[1]
    # also the very answer to a submit that was done
    places = [{"sent": sent * n // 8} for n in range(1, 9)] + [{"received": received - n} for n in (0, 60, 120, 1000)]
    for number, place in enumerate(places):
        bench.client._connection.transport.close()
        bench.key = f"Cut{number}"
        proxy.cut_after(**place)
        job = Retry(60).call(lambda: bench.submit(command).job)
        assert bench.monitor.wait(job, lambda _: None).succeeded
        assert bench.host.run("cat", ledger) == "run\n" * (number + 3)


@both_transports
def test_a_request_that_is_cut_off_at_the_end_of_a_word_is_not_run(bench):
    """A shell runs the last line of its input also without the newline; of a submit that could be half a job."""
    remote = RemoteShell(bench.client._connection.transport, deadline=time.monotonic() + 20)
    session = remote.session
    request = remote.protocol.request(request_text("job_find", "~", "x", ""))
    session.write(request[:-3], deadline=time.monotonic() + 5)
    session.close_stdin()
    answer = b""
    while chunk := session.read(1000, deadline=time.monotonic() + 10):
        answer += chunk
    assert b" end 1 " not in answer
    remote.close()


def kill_sessions(host) -> None:
    """Restart the listener and end its connections, as `systemctl restart ssh` with all sessions does."""
    listener, *_ = host.run("pgrep", "-x", "-o", "sshd", user="root").split()
    sessions = host.run("sh", "-c", f"pgrep -x sshd | grep -vx {listener}", user="root", check=False).split()
    host.run("kill", "-HUP", listener, user="root")
    host.run("kill", "-9", *sessions, user="root")
    host.wait_until_up()


@both_transports
@pytest.mark.needs_docker
def test_a_restarted_sshd_costs_the_job_nothing(bench):
    job = bench.submit(bench.until_released("echo through")).job
    bench.wait_for_file(f"{job.directory}/identity")
    logins = bench.host.accepted_logins()
    restart = fork.Process(target=lambda: (kill_sessions(bench.host), bench.release()))
    restart.start()
    seen = bytearray()
    outcome = bench.monitor.wait(job, lambda observation: seen.extend(observation.log))
    restart.join(30)
    assert (outcome.state, bytes(seen)) == ("succeeded", b"through\n")
    assert bench.host.accepted_logins() == logins + 1


@pytest.mark.timeout(240)
def test_a_network_outage_of_a_minute_does_not_affect_the_job(proxy, bench):
    job = bench.submit("echo before; sleep 20; echo in the dark").job
    bench.client.status(job)
    proxy.silence()
    states, seen = set(), bytearray()

    def watch(observation) -> None:
        states.add(observation.state)
        seen.extend(observation.log)

    restore = threading.Timer(60, proxy.restore)
    restore.start()
    outcome = bench.monitor.wait(job, watch)
    assert restore.finished.is_set(), "the wire was still cut"
    assert (outcome.state, bytes(seen)) == ("succeeded", b"before\nin the dark\n")
    assert states == {State.ENDED}


@both_transports
@pytest.mark.needs_docker
def test_a_paused_host_does_not_affect_the_job(bench):
    configure(request_timeout=2)
    job = bench.submit(bench.until_released("echo through")).job
    pause = fork.Process(target=lambda: (bench.host.pause(), time.sleep(6), bench.host.unpause(), bench.release()))
    pause.start()
    seen = bytearray()
    outcome = bench.monitor.wait(job, lambda observation: seen.extend(observation.log))
    pause.join(30)
    assert (outcome.state, bytes(seen)) == ("succeeded", b"through\n")
