"""There is a way out of every state of a job, and each command that is not it names it."""

from __future__ import annotations

import pytest

from luigi_sshjob.cli.main import main
from luigi_sshjob.jobs.model import State

from support import processes


def claimed(bench, job) -> None:
    end_all(bench)
    edit(bench, job, "rm -rf started identity* run log && touch log")


def running(bench, job) -> None:
    pass


def unsupervised(bench, job) -> None:
    bench.host.run("kill", "-9", str(bench.supervisor()))


def ended(bench, job) -> None:
    bench.release()


def lost(bench, job) -> None:
    end_all(bench)


def elsewhere(bench, job) -> None:
    edit(bench, job, "sed -i 's/^boot: .*/boot: another.1/' identity*")


def elsewhere_without_identity(bench, job) -> None:
    end_all(bench)
    edit(bench, job, "rm identity*")


def unknown(bench, job) -> None:
    end_all(bench)
    edit(bench, job, "rm identity*; echo later >launch")


def end_all(bench) -> None:
    everything = [pid for pid, args in bench.host.processes() if bench.folder in args or bench.go in args]
    bench.host.run("kill", "-9", *map(str, everything), check=False)


def edit(bench, job, script: str) -> None:
    bench.host.run("sh", "-c", f"cd {job.directory} && {script}")


# the commands that end the state, the first of which others name
WAYS_OUT = {
    claimed: ["kill"],
    running: ["kill"],
    unsupervised: ["kill"],
    ended: ["collect", "forget", "forget --lost"],
    lost: ["collect", "forget", "forget --lost", "kill"],
    elsewhere: ["forget --lost"],
    elsewhere_without_identity: ["forget --lost"],
    unknown: ["forget --lost"],
}


@pytest.mark.parametrize(
    ("make", "way_out"),
    [pytest.param(make, way, id=f"{make.__name__}-{way}") for make in WAYS_OUT for way in WAYS_OUT[make]],
)
def test_each_state_has_a_way_out(bench, capsys, make, way_out):
    command = f"sh -c '{bench.until_released()}'"
    job = bench.submit(command).job
    bench.wait_until_running(bench.go)
    make(bench, job)
    state = State(make.__name__.partition("_")[0])
    processes.wait_until(lambda: bench.client.status(job).state is state, f"the state {state.value}")

    def call(verb: str) -> tuple[int, str]:
        status = main([*verb.split(), "--base-dir", bench.base, bench.host.alias, job.id])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    try:
        for verb in ("show", "logs", *sorted({"collect", "forget", "forget --lost", "kill"} - set(WAYS_OUT[make]))):
            status, printed = call(verb)
            if verb in ("show", "logs"):
                assert status == 0, printed
                assert verb == "logs" or state in (State.ENDED, State.LOST) or WAYS_OUT[make][0] in printed
            elif verb == "kill" and state is State.ENDED:
                assert status == 0
            else:
                assert status == 3, printed
                assert f"luigi-sshjob {WAYS_OUT[make][0]}" in printed
            assert bench.client.status(job).state is state, verb
        status, printed = call(way_out)
        assert status == 0, printed
        if way_out.startswith("forget"):
            assert main(["ls", "--base-dir", bench.base, bench.host.alias]) == 0
            assert job.key not in capsys.readouterr().out
        again = bench.submit("true")
        assert (again.attached, again.job.attempt > 1 or way_out in ("forget", "forget --lost")) == (False, True)
        assert bench.monitor.wait(again.job, lambda _: None).succeeded
    finally:
        end_all(bench)


def test_giving_up_a_job_whose_directory_is_not_writable_says_so(bench, capsys):
    job = bench.submit("sleep 581").job
    bench.wait_until_running("sleep 581")
    edit(bench, job, "sed -i 's/^boot: .*/boot: another.1/' identity* && chmod 500 .")
    if bench.host.run("id", "-u").strip() == "0":
        pytest.skip("root may write everywhere")
    try:
        assert main(["forget", "--lost", "--base-dir", bench.base, bench.host.alias, job.id]) == 3
        assert "no exit record can be written to" in capsys.readouterr().err
    finally:
        bench.host.run("chmod", "700", job.directory)
        assert main(["forget", "--lost", "--base-dir", bench.base, bench.host.alias, job.id]) == 0
        bench.host.run("pkill", "-f", "sleep 581", check=False)
