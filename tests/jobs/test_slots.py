"""Jobs that share what a host has: through Luigi, on the command line, and from several accounts."""

from __future__ import annotations

import json
import re
import threading

import luigi
import pytest

from luigi_sshjob import JobEvent, RemoteContext, RemoteJobTask
from luigi_sshjob.cli.main import main
from luigi_sshjob.errors import ConfigurationError, JobError, JobFailed, RemoteCommandFailed
from luigi_sshjob.jobs.client import JobClient
from luigi_sshjob.jobs.launchers.registry import get_launcher
from luigi_sshjob.jobs.slot_table import read_slot_table
from luigi_sshjob.jobs.slots import Slots
from luigi_sshjob.jobs.spec import JobSpec

from support import processes
from support.second_account import NAME, add_account
from support.settings import configure

pytestmark = pytest.mark.needs("flock")

ONE = Slots((("gpu", 1),), "gpu:1")


class OnOneGpu(RemoteJobTask):
    host = luigi.Parameter()
    base_dir = luigi.Parameter(significant=False)
    ledger = luigi.Parameter(significant=False)
    number = luigi.IntParameter()
    slots = luigi.DictParameter(default={"gpu": 1}, significant=False)
    environment = luigi.DictParameter(default={}, significant=False)
    launcher = luigi.OptionalParameter(default=None, significant=False)
    queue_timeout = luigi.FloatParameter(default=0, significant=False)

    def command(self):
        return f'exec >>{self.ledger}; echo "start $CUDA_VISIBLE_DEVICES $CUDA_DEVICE_ORDER"; sleep 0.5; echo end'


@pytest.fixture
def on_one_gpu(bench):
    configure(slots="gpu:1")
    ledger = f"{bench.host.home}/{bench.folder}-ledger"
    yield lambda number, **more: OnOneGpu(bench.host.alias, bench.base, ledger, number, **more)
    bench.host.run("rm", "-f", ledger)


@pytest.fixture
def holder(bench):
    """A job that has the only GPU until it is released."""
    bench.key = "Holder"
    job = bench.submit(bench.until_released(), slots=ONE).job
    processes.wait_until(lambda: bench.client.status(job).state.value == "running", "the job")
    bench.key = "Task"
    return job


def queue_of(bench) -> list[str]:
    return [each.job for each in read_slot_table(bench.client.connection, bench.base).queue]


def queued(bench, key: str):
    job = bench.client.submit(JobSpec(key=key, command="true", slots=ONE)).job
    processes.wait_until(lambda: job.id in queue_of(bench), key)
    return job


@pytest.mark.core
def test_tasks_that_need_the_same_gpu_run_one_after_the_other(bench, on_one_gpu, build):
    seen: list[str] = []
    for event in (JobEvent.QUEUED, JobEvent.STARTED):
        OnOneGpu.event_handler(event)(lambda task, _, event=event: seen.append(f"{event[19:]} {task.number}"))
    assert build(on_one_gpu(1), on_one_gpu(2), workers=2)
    lines = bench.host.run("cat", on_one_gpu(1).ledger).splitlines()
    assert lines == ["start 0 PCI_BUS_ID", "end"] * 2
    waited = [attempt.status.outcome.queue_seconds for attempt in bench.listing.attempts()]
    assert sorted(waited)[0] == 0
    if seen:
        # without a process for each; one of them has waited
        last = [each[-1] for each in seen if each.startswith("started")][-1]
        assert seen.index(f"queued {last}") < seen.index(f"started {last}"), seen


def test_a_job_that_waits_for_slots_is_queued_until_it_is_cancelled(bench, holder):
    job = queued(bench, "Waiting")
    status = bench.client.status(job)
    assert (status.reason, status.queue_reason) == ("waits for gpu:1", "waits for gpu:1")
    outcome = bench.monitor.cancel(job, grace=1)
    assert outcome.state == "cancelled"
    assert outcome.started == ""
    assert re.match("it was not started; by ", outcome.reason)
    assert queue_of(bench) == []


def test_a_task_waits_no_longer_than_the_queue_timeout(bench, holder, on_one_gpu):
    with pytest.raises(JobError, match=r"it has been queued for \d+ s: waits for gpu:1"):
        on_one_gpu(1, queue_timeout=1).run()


def test_a_lost_job_that_waited_loses_its_place_only(bench, holder):
    first, second = queued(bench, "First"), queued(bench, "Second")
    (pid,) = re.findall(r"^pid: (\d+)", bench.host.run("cat", f"{first.directory}/identity"), re.MULTILINE)
    bench.host.run("kill", "-9", pid)
    outcome = bench.monitor.wait(first, lambda _: None)
    assert (outcome.state, outcome.reason) == (
        "lost",
        f"the supervisor (process {pid}) died without writing an exit record",
    )
    bench.release()
    assert bench.monitor.wait(second, lambda _: None).succeeded


def test_the_command_line_shows_who_has_the_slots_and_who_waits(bench, holder, capsys):
    configure(slots="gpu:1 cpu:8")
    queued(bench, "Waiting")
    words = ["slots", "--base-dir", bench.base, bench.host.alias]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^gpu +1 +1 +0 +setting$", printed, re.MULTILINE)
    assert re.search(r"^cpu +8 +0 +8 +setting$", printed, re.MULTILINE)
    assert re.search(rf"^gpu:0 +{bench.host.username} +Holder/1 +\d+", printed, re.MULTILINE)
    assert re.search(rf"^1 +gpu:1 +{bench.host.username} +Waiting/1 +\d+", printed, re.MULTILINE)
    assert main([*words, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["holders"][0]["slots"] == {"gpu": [0]}
    assert shown["queue"][0]["slots"] == {"gpu": 1}
    assert main(["show", "--base-dir", bench.base, bench.host.alias, "Waiting"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^State +queued for .*: waits for gpu:1$", shown, re.MULTILINE)
    assert re.search(r"^Slots +gpu:1$", shown, re.MULTILINE)
    assert f"see what it waits for: luigi-sshjob slots {bench.host.alias}" in shown


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"slots": {"GPU": 1}}, "slots must be a dict of names and positive numbers"),
        ({"slots": {"gpu": 0}}, "slots must be a dict of names and positive numbers"),
        ({"slots": {"gpu": 801}}, "too many slots for one job"),
        ({"launcher": "slurm"}, r"slots are for hosts without a scheduler: slurm [\s\S]*with sbatch_options"),
        ({"environment": {"CUDA_VISIBLE_DEVICES": "1"}}, "the environment sets CUDA_VISIBLE_DEVICES"),
    ],
)
def test_slots_that_cannot_be_are_refused_before_anything_is_sent(on_one_gpu, options, problem):
    with pytest.raises(ConfigurationError, match=problem):
        on_one_gpu(1, **options).run()


def test_a_supply_that_is_no_list_is_refused(on_one_gpu):
    configure(slots="gpu=4")
    with pytest.raises(ConfigurationError, match="invalid value for setting slots: 'gpu=4'"):
        on_one_gpu(1).run()


def test_a_job_that_needs_more_than_there_is_fails_at_once(on_one_gpu):
    with pytest.raises(JobFailed, match=r"it needs gpu:2, and \S+ has gpu:1 \(setting\)"):
        on_one_gpu(1, slots={"gpu": 2}).run()


@pytest.fixture
def shared(bench):
    """A directory of slots for all accounts, and a client for the jobs of another account."""
    if bench.host.kind != "docker":
        pytest.skip("there is no second account")
    # other tests derive theirs from this configuration
    configuration = bench.host.ssh_config.read_text()
    alias = add_account(bench.host)
    place = bench.host.run("mktemp", "-d", user="root").strip()
    bench.host.run("chmod", "1777", place, user="root")
    configure(slots_dir=place)
    other = JobClient(RemoteContext(alias).connection, bench.base, get_launcher("nohup"))
    yield place, other
    bench.release()
    left = ["sh", "-c", f"rm -rf {place} /home/{NAME}/{bench.folder}"]
    processes.wait_until(lambda: "supervise" not in bench.host.run("ps", "-A", "-o", "args", user="root"), "the jobs")
    bench.host.run(*left, user="root")
    bench.host.ssh_config.write_text(configuration)


def test_accounts_share_slots_and_cannot_remove_the_files_of_each_other(bench, shared):
    place, other = shared
    slots = Slots((("gpu", 1),), "gpu:1", place)
    ours = bench.submit(bench.until_released(), slots=slots).job
    processes.wait_until(lambda: bench.client.status(ours).state.value == "running", "our job")
    theirs = other.submit(JobSpec(key="Theirs", command=bench.until_released(), slots=slots)).job
    processes.wait_until(lambda: other.status(theirs).state.value == "queued", "their job")
    table = read_slot_table(bench.client.connection, bench.base)
    assert [(each.account, each.job, each.numbers) for each in table.holders] == [
        (bench.host.username, "Task/1", {"gpu": [0]})
    ]
    assert [(each.account, each.job, each.needed) for each in table.queue] == [(NAME, "Theirs/1", {"gpu": 1})]
    # first the supervisor, then the command: the file that is left is not one of a holder
    kill = f"kill -9 {bench.supervisor()}; kill -9 $(pgrep -f {bench.folder}/jobs)"
    bench.host.run("sh", "-c", kill, check=False)
    processes.wait_until(lambda: other.status(theirs).state.value == "running", "their job")
    assert sorted(bench.host.run("ls", place).split()) == ["1000000001.grant", "1000000002.grant", "mutex"]
    bench.release()
    processes.wait_until(lambda: other.status(theirs).state.value == "ended", "the end of their job")
    bench.key = "Another"
    assert bench.run("true", slots=slots)[0].succeeded
    assert bench.host.run("ls", place).split() == ["mutex"]


def test_the_file_of_the_administrator_wins_and_no_other_account_can_make_it(bench, shared):
    place, _ = shared
    slots = Slots((("gpu", 3),), "gpu:8", place)
    bench.host.run("sh", "-c", f"echo gpu:99 >{place}/supply")
    reason = rf"the supply of slots on \S+ cannot be used: {place}/supply belongs neither to root nor .*"
    assert re.fullmatch(reason, bench.run("true", slots=slots)[0].reason)
    with pytest.raises(RemoteCommandFailed, match="belongs neither to root nor to the owner of the directory"):
        read_slot_table(bench.client.connection, bench.base)
    bench.host.run("sh", "-c", f"echo gpu:2 >{place}/supply; chown root {place}/supply", user="root")
    reason = bench.run("true", slots=slots)[0].reason
    assert re.fullmatch(r"it needs gpu:3, and \S+ has gpu:2 \(administrator\)", reason)
    gpu = read_slot_table(bench.client.connection, bench.base).resources[0]
    assert (gpu.name, gpu.supply, gpu.source) == ("gpu", 2, "administrator")


def test_a_process_that_the_command_has_left_keeps_the_slots(bench):
    """That is what a daemon does, unless it closes its descriptors."""
    outcome, _ = bench.run("(setsid sleep 71 >/dev/null 2>&1 &)", slots=ONE)
    assert outcome.succeeded
    waiting = queued(bench, "Waiting")
    threading.Timer(0.3, lambda: bench.host.run("pkill", "-f", "sleep 71")).start()
    assert bench.monitor.wait(waiting, lambda _: None).succeeded


def test_a_job_whose_turn_it_is_waits_until_it_can_write_its_grant(bench, shared):
    """As on a full disk; here nobody may write to the directory for a while."""
    place, _ = shared
    slots = Slots((("gpu", 1),), "gpu:1", place)
    bench.submit(bench.until_released(), slots=slots)
    bench.wait_until_running("/Task/1/command")
    job = bench.client.submit(JobSpec(key="Waiting", command="true", slots=slots)).job
    processes.wait_until(lambda: "2.ticket" in bench.host.run("ls", place), "its ticket")
    bench.host.run("chmod", "555", place, user="root")
    bench.release()
    bench.wait_until_running("sleep 10")
    assert bench.client.status(job).state.value == "queued"
    bench.host.run("chmod", "1777", place, user="root")
    assert bench.monitor.wait(job, lambda _: None).succeeded


@pytest.mark.needs_docker
def test_a_host_without_flock_says_so(special_bench):
    bench = special_bench()
    bench.host.run("rm", "/usr/bin/flock", user="root")
    assert bench.run("true", slots=ONE)[0].reason.startswith(
        "slots need the program flock (util-linux, busybox), which"
    )
    with pytest.raises(RemoteCommandFailed, match="the host has no program flock") as caught:
        read_slot_table(bench.client.connection, bench.base)
    assert caught.value.code == "no-flock"


def test_a_directory_of_slots_that_cannot_be_read_is_named(bench):
    if bench.host.run("id", "-u").strip() == "0":
        pytest.skip("root may read any directory")
    place = bench.host.run("mktemp", "-d").strip()
    bench.host.run("chmod", "0", place)
    configure(slots_dir=place)
    with pytest.raises(RemoteCommandFailed, match=f"no permission to read the directory of slots: {place}"):
        read_slot_table(bench.client.connection, bench.base)
    bench.host.run("rmdir", place)
