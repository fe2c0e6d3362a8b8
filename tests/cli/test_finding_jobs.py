"""HOST may be left out, and a beginning of JOB will do."""

from __future__ import annotations

from collections.abc import Iterator

import luigi.configuration
import pytest

from luigi_sshjob import RemoteContext
from luigi_sshjob.cli.find import find_jobs
from luigi_sshjob.cli.job_names import split_words
from luigi_sshjob.cli.main import main
from luigi_sshjob.cli.parser import create_parser
from luigi_sshjob.errors import JobError
from luigi_sshjob.jobs.client import JobClient
from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.launchers.registry import get_launcher
from luigi_sshjob.jobs.recent import JobLocation, remember
from luigi_sshjob.jobs.spec import JobSpec

from support import processes
from support.jobs import cancel_running
from support.settings import configure


class TwoHosts:
    """Two names of one host, each with jobs in a base directory of its own."""

    def __init__(self, bench, tmp_path):
        self.names = (bench.host.alias, "other")
        self._bases = {name: f"~/{bench.folder}/{name}" for name in self.names}
        bench.host.run("mkdir", "-p", bench.folder)
        text = bench.host.ssh_config.read_text()
        ssh_config = tmp_path / "two_hosts"
        ssh_config.write_text(text + text.replace(f"Host {bench.host.alias}\n", "Host other\n"))
        configure(ssh_config=ssh_config)
        for name in self.names:
            # so that jobs of other tests, in the default directory, are not found
            luigi.configuration.get_config().set(f"sshjob.{name}", "base_dir", self._bases[name])
            remember(JobLocation(name, self._bases[name]))

    def submit(self, name: str, key: str, command: str = "echo $SSHJOB_ID") -> None:
        client = JobClient(RemoteContext(name).connection, self._bases[name], get_launcher("nohup"))
        job = client.submit(JobSpec(key=key, command=command)).job
        wanted = "running" if "sleep" in command else "ended"
        processes.wait_until(lambda: client.status(job).state.value == wanted, "the job")

    def end(self) -> None:
        for name in self.names:
            jobs = HostJobs(RemoteContext(name).connection, self._bases[name])
            cancel_running(jobs.listing, jobs.monitor())


@pytest.fixture
def hosts(bench, tmp_path) -> Iterator[TwoHosts]:
    made = TwoHosts(bench, tmp_path)
    yield made
    made.end()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        # one job: the first of two words is the host
        ("J", (None, ["J"])),
        ("never-used J", ("never-used", ["J"])),
        # several jobs
        ("box A B/1", ("box", ["A", "B/1"])),
        ("box_0123456789 A", ("box_0123456789", ["A"])),
        ("A/1 B", (None, ["A/1", "B"])),
        ("A_b_0123456789 B", (None, ["A_b_0123456789", "B"])),
        ("A__0123456789abcdef B", (None, ["A__0123456789abcdef", "B"])),
        ("me@never-used:22 A B", ("me@never-used:22", ["A", "B"])),
        ("never-used A B", ("never-used", ["A", "B"])),
    ],
)
def test_the_first_of_several_words_is_a_host_unless_it_looks_like_a_job(words, expected):
    found = split_words(words.split(), ["box", "box_0123456789"], single=words.endswith(" J"))
    assert (found.host, found.jobs) == expected
    assert found.doubtful == (words == "never-used A B")


def test_a_job_is_found_without_its_host_and_by_the_beginning_of_its_name(hosts, capsys):
    first, second = hosts.names
    hosts.submit(first, "Count_moby_0123456789")
    hosts.submit(second, "Count_ulysses_0123456789")
    hosts.submit(second, "Count", "sleep 591")
    for words, printed in (
        (["Count_moby_0123456789"], "Count_moby_0123456789/1\n"),
        (["Count_u"], "Count_ulysses_0123456789/1\n"),
        (["Count_u/1"], "Count_ulysses_0123456789/1\n"),
        ([second, "--tail", "1", "Count_u"], "Count_ulysses_0123456789/1\n"),
        # a whole name, though another begins with it
        (["Count"], ""),
    ):
        assert main(["logs", *words]) == 0
        assert capsys.readouterr().out == printed
    assert main(["kill", "Count/1", "Count_none"]) == 3
    printed = capsys.readouterr()
    assert printed.out.startswith("Count/1 was cancelled")
    assert "job Count_none: there is no such job\nNext: list the jobs with `luigi-sshjob ls -a`" in printed.err
    assert main(["show", second]) == 3
    assert f"Next: name a job, too: {second} is a host" in capsys.readouterr().err
    assert main(["forget", "Count_moby_0123456789", "Count_u"]) == 0
    assert main(["logs", "Count_u"]) == 3


def test_an_ambiguous_name_is_an_error_that_lists_the_candidates(hosts, capsys):
    first, second = hosts.names
    for name in hosts.names:
        hosts.submit(name, "Same_0123456789")
    for number in range(6):
        hosts.submit(second, f"Many_{number}")
    arguments = create_parser().parse_args(["kill", "Same_0123456789"])
    ((), (error,)) = find_jobs(arguments)
    assert isinstance(error, JobError)
    candidates = sorted(f"{name} Same_0123456789/1" for name in hosts.names)
    assert sorted(error.problem.partition("it may be ")[2].split(", ")) == candidates
    assert main(["show", second, "Many"]) == 3
    listed = ", ".join(f"{second} Many_{number}" for number in range(5))
    assert (
        f"job Many: the name of the job is ambiguous; it may be {listed} and 1 more\n"
        "Next: give more of the name, as in one of these\n"
    ) in capsys.readouterr().err
    assert "give the host and more of the name" in error.next_step
    assert main(["logs", first, "Sam"]) == 0


def test_an_attempt_does_not_complete_an_ambiguous_name(hosts, capsys):
    _, second = hosts.names
    hosts.submit(second, "Train_a", "sleep 592")
    hosts.submit(second, "Train_b")
    assert main(["collect", "Train_b"]) == 0
    hosts.submit(second, "Train_b", "sleep 593")
    capsys.readouterr()
    # only one of the tasks has such an attempt
    for verb, word in (("kill", "Train/2"), ("collect", "Train_/2"), ("forget", "Tr/2"), ("logs", "Train/2")):
        assert main([verb, second, word]) == 3
        printed = capsys.readouterr()
        assert printed.out == ""
        text = f"job {word}: the name of the job is ambiguous; it may be {second} Train_a, {second} Train_b\nNext: "
        assert text in printed.err
    assert main(["kill", second, "Train_a", "Train_b/2", "Train_b/3"]) == 3
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()] == ["Train_a/1", "Train_b/2"]
    assert "job Train_b/3: there is no such job" in printed.err


def test_a_forgotten_attempt_is_found_only_if_there_is_no_other_one(hosts, capsys):
    first, second = hosts.names
    for name in hosts.names:
        hosts.submit(name, "Same_0123456789")
    assert main(["forget", first, "Same_0123456789"]) == 0
    for word in ("Same_0123456789", "Same"):
        capsys.readouterr()
        assert main(["show", word]) == 0
        assert f"Host         {second}\n" in capsys.readouterr().out
    # of a host where all are forgotten
    assert main(["show", first, "Same_0123456789"]) == 0
    assert main(["show", first, "Same"]) == 3


def test_a_host_that_cannot_be_searched_makes_a_prefix_an_error(hosts, capsys):
    first, _ = hosts.names
    remember(JobLocation("no-such-host.invalid", "~/jobs"))
    hosts.submit(first, "Count_0123456789")
    assert main(["logs", "Count_0123456789"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "Count_0123456789/1\n"
    assert "luigi-sshjob: no-such-host.invalid was not searched: cannot resolve the host name" in printed.err
    assert main(["logs", "Count"]) == 3
    err = capsys.readouterr().err
    assert "the name is incomplete, and not all recently used hosts could be searched for it" in err
    assert f"Next: give the host, too: {first} Count\n" in err
    assert main(["logs", "None"]) == 3
    assert (
        "job None: there is no such job on the hosts that could be searched\n"
        "Next: check with `luigi-sshjob doctor` why no-such-host.invalid could not; or list the jobs with "
        "`luigi-sshjob ls -a`\n"
    ) in capsys.readouterr().err
    assert main(["kill", "Count_moby", "Count_ulysses"]) == 3
    assert (
        "; if Count_moby is a job, give its host before it: HOST Count_moby Count_ulysses\n" in capsys.readouterr().err
    )


def test_without_a_recent_host_a_host_must_be_named(luigi_cfg, capsys):
    assert main(["logs", "Count"]) == 3
    assert "no host was used recently from here\nNext: name the host, too: HOST JOB" in capsys.readouterr().err
