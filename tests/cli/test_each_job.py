"""What is said about each of several jobs."""

from __future__ import annotations

import pytest

from luigi_sshjob.cli.each_job import for_each_job
from luigi_sshjob.cli.parser import create_parser
from luigi_sshjob.cli.render import distinct
from luigi_sshjob.errors import HostUnreachable
from luigi_sshjob.jobs.spec import JobSpec

from support import processes
from support.settings import configure


@pytest.mark.needs_docker
def test_a_lost_connection_is_an_error_of_each_job(proxy, bench, capsys):
    configure(unreachable_timeout=1, request_timeout=2, connect_timeout=2, connect_attempts=1)
    for key in ("A", "B"):
        job = bench.client.submit(JobSpec(key=key, command="true")).job
        processes.wait_until(lambda job=job: bench.client.status(job).outcome, "the end")

    def cut(host, job) -> str:
        proxy.silence()
        host.listing.discard([job])
        return "removed"

    arguments = create_parser().parse_args(["forget", "--base-dir", bench.base, bench.host.alias, "A", "B"])
    assert for_each_job(arguments, cut) == 3
    proxy.restore()
    reported = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("Next: ")]
    assert [line.partition(", while ")[0] for line in reported] == [
        f"luigi-sshjob: host {bench.host.alias}, job {key}/1" for key in ("A", "B")
    ]


def test_an_unreachable_host_is_one_error_the_first():
    errors = [HostUnreachable(problem, host=host) for problem, host in (("1", "box"), ("2", "abacus"), ("3", "box"))]
    assert distinct(errors) == errors[:2]
