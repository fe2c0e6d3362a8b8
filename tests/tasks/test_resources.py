"""Limits on the number of jobs of a host, counted on the host."""

from __future__ import annotations

import json

import luigi
import pytest

from support.luigi_command import ask, finished
from support.recording_tasks import OnHosts
from support.settings import configure

TASKS = "support.recording_tasks"
# a job that succeeds only while N jobs of the host run at the same time
TOGETHER = 'n=0; until [ "$(grep -c + ledger)" -ge {} ]; do n=$((n + 1)); [ $n -lt 600 ] || exit 1; sleep 0.1; done'
NAMES = ["by-max-jobs", "By.Resources", "free"]


@pytest.fixture
def hosts(host, luigi_cfg, tmp_path, text_folder) -> dict[str, str]:
    """Commands by three names of the host: two names with a limit of 2, one without a limit."""
    ssh_config = tmp_path / "ssh_config_of_three"
    ssh_config.write_text(host.ssh_config.read_text().replace(host.alias, " ".join(NAMES), 1))
    host.run("mkdir", *(f"{text_folder}/{place}" for place in range(len(NAMES))))
    with luigi_cfg.path.open("a") as file:
        file.write("[sshjob.by-max-jobs]\nmax_jobs = 2\n[resources]\nBy.Resources = 2\n")
    configure(ssh_config=ssh_config)
    text = luigi_cfg.path.read_text()
    luigi_cfg.path.write_text(text.replace(f"ssh_config={host.ssh_config}", f"ssh_config={ssh_config}"))
    luigi.configuration.get_config().reload()
    return dict(zip(NAMES, [*2 * [f"{TOGETHER.format(2)}; sleep 1"], TOGETHER.format(3)], strict=True))


def most_at_once(host, folder: str, place: int) -> int:
    """The maximum number of jobs that have written their + but not their -."""
    now = most = 0
    for line in host.run("cat", f"{folder}/{place}/ledger").splitlines():
        now += 1 if line.startswith("+") else -1
        most = max(most, now)
    return most


def all_at_once(host, folder: str) -> list[int]:
    return [most_at_once(host, folder, place) for place in range(len(NAMES))]


def test_a_host_runs_as_many_jobs_as_allowed_and_others_are_not_limited(host, hosts, text_folder, tmp_path):
    (tmp_path / "notes").touch()
    tasks = OnHosts(hosts=hosts, folder=text_folder, notes=str(tmp_path / "notes"), numbers=[1, 2, 3])
    assert luigi.build([tasks], local_scheduler=True, workers=9)
    bound, counted, free = all_at_once(host, text_folder)
    assert (bound, counted) == (2, 2)
    assert free >= 3


def test_two_workers_together_respect_the_limit_and_luigid_needs_no_setting(
    luigid, host, hosts, text_folder, tmp_path, start_luigi
):
    (tmp_path / "notes").touch()
    # luigid must know the limit of a resource, but not max_jobs
    assert "by-max-jobs" not in json.dumps(ask(luigid, "resource_list"))
    ask(luigid, "update_resources", **{"By.Resources": 2})
    workers = [
        start_luigi(
            *("--module", TASKS, "OnHosts", "--hosts", json.dumps(hosts), "--folder", text_folder),
            *("--notes", str(tmp_path / "notes"), "--numbers", json.dumps(numbers), "--workers", "6"),
            *("--scheduler-host", "127.0.0.1", "--scheduler-port", str(luigid), "--worker-keep-alive"),
        )
        for numbers in ([1, 2], [3])
    ]
    for worker in workers:
        finished(worker)
    bound, counted, free = all_at_once(host, text_folder)
    assert (bound, counted) == (2, 2)
    assert free >= 3
