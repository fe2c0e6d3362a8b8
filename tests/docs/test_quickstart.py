"""examples/quickstart.sh, and the tests that pages name."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support import processes
from support.doc_examples import PAGES, ROOT
from support.error_catalogue import all_test_names
from support.prompts import Prompts

LICENCES = Path("/usr/share/common-licenses")

needs_licences = pytest.mark.skipif(not LICENCES.is_dir(), reason=f"no {LICENCES} on this machine")
needs_sshd = pytest.mark.skipif(
    not shutil.which("sshd", path="/usr/sbin") and os.environ.get("CI") != "true",
    reason="examples/quickstart.sh would install openssh-server",
)
# the first one may install Luigi into examples/.venv, and there is one kept host per checkout
quickstart = pytest.mark.xdist_group("quickstart")
SCRIPT = ROOT / "examples" / "quickstart.sh"
SHORT = ["--", "--pause", "0", "--licences", '["Artistic", "MPL-2.0"]']


def run_script(*arguments: str, status: int = 0, folder: Path = ROOT) -> str:
    done = subprocess.run(
        [SCRIPT, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
    )
    assert done.returncode == status, done.stdout
    return done.stdout


def check_result(result: str) -> None:
    """Run the commands with which the report lets users check one of its numbers."""
    most = re.search(r"^ +(\d+)  \w+$", result, re.MULTILINE)[1]
    commands = re.search(r"by hand.*:\n\n((?: {4}.*\n)+)", result)[1]
    by_hand = subprocess.run(["sh", "-c", commands], capture_output=True, text=True).stdout
    assert by_hand.strip() == most


def folder_of(output: str) -> Path:
    return Path(re.search(r"^Luigi's log is (\S+)/luigi.log\.\r?$", output, re.MULTILINE)[1])


def folders_of(output: str) -> list[Path]:
    """Return the folder of each throwaway host, the first with the files of the demonstration."""
    configuration = (folder_of(output) / "quickstart.cfg").read_text()
    return [Path(path).parent for path in re.findall(r"^ssh_config = (.+)$", configuration, re.MULTILINE)]


def check_nothing_is_left(*folders: Path) -> None:
    assert [folder for folder in folders if folder.exists()] == []
    assert [each for each in processes.running() for folder in folders if each.names(f"{folder}/")] == []


@needs_licences
@needs_sshd
@quickstart
@pytest.mark.timeout(600)
def test_the_quickstart_runs_in_any_directory_and_leaves_nothing(tmp_path):
    (tmp_path / "luigi.cfg").write_text("[Report]\nletters = 12\n")
    output = run_script(*SHORT, folder=tmp_path)
    assert " most common words of 5 letters or more in 2 licences:\n" in output
    assert "3 jobs, each ran once; logins that sshd accepted for all of it: 1\n" in output
    check_result(output)
    check_nothing_is_left(folder_of(output))


@needs_licences
@needs_sshd
@quickstart
@pytest.mark.timeout(600)
def test_jobs_of_the_quickstart_survive_luigi_and_run_once_and_its_host_can_be_kept():
    output = run_script("--keep", "--", "--licences", '["Artistic", "GPL-3", "MPL-2.0"]')
    try:
        _, first, killed, listed, second, result = re.split(r"^\d\. ", output, flags=re.MULTILINE)
        assert "WordCount_Artistic    running" in first
        assert "succeeded" not in first
        assert re.search(r"\$ kill -9 -\d+\n", killed)
        running = re.findall(r"^(WordCount_\w+/1) +running ", listed, re.MULTILINE)
        assert len(running) == 3
        assert "Luigi found 3 jobs on the host, and started none of them again." in second
        check_result(result)
        assert "4 jobs, each ran once; logins that sshd accepted for all of it: 1\n" in result
        logs = list(
            (folder_of(output) / "home" / "luigi-sshjob-quickstart").glob(".luigi-sshjob/jobs/WordCount*/*/log")
        )
        assert sorted(f"{log.parent.parent.name}/{log.parent.name}" for log in logs) == sorted(running)
        assert [log.read_text().count("part 1 of 5") for log in logs] == [1, 1, 1]

        commands = re.search(r"in a new shell:\n((?:  .*\n)+)", output)[1].replace("long-words.txt", "/dev/null")
        used = subprocess.run(["sh", "-e", "-c", commands], capture_output=True, text=True)
        assert used.returncode == 0, used.stderr
        assert "succeeded" in used.stdout
        assert "part 1 of 5" in used.stdout
        assert "remove it with: examples/quickstart.sh --stop" in run_script("--keep", status=1)
    finally:
        assert run_script("--stop") == "What was kept is removed.\n"
    check_nothing_is_left(folder_of(output))
    assert run_script("--stop") == "Nothing was kept.\n"


@needs_sshd
@quickstart
@pytest.mark.timeout(600)
def test_jobs_of_the_mixed_pipeline_survive_luigi_on_two_hosts_and_their_result_is_local():
    output = run_script("--mixed", "--keep")
    try:
        first, second = folders_of(output)
        assert "Luigi found 2 jobs on the host, and started none of them again." in output
        assert f"$ cat {first}/mixed/report.txt\n\nWords of both texts:\n    5  the\n    2  is\n" in output
        assert "3 jobs, each ran once; logins that sshd accepted for all of it: 2\n" in output
        jobs = [sorted(path.name for path in (each / "home").glob(".luigi-sshjob/jobs/C*")) for each in (first, second)]
        assert [[name.partition("_")[0] for name in names] for names in jobs] == [["Count", "Count"], ["Compare"]]
        # those that were sent on to the second host
        assert (first / "cache" / "luigi-sshjob" / "copies").is_dir()

        commands = re.search(r"in a new shell:\n((?:  .*\n)+)", output)[1].replace(
            "--directory again", f"--directory {first}"
        )
        used = subprocess.run(["sh", "-e", "-c", commands], capture_output=True, text=True)
        assert used.returncode == 0, used.stderr
        assert (first / "report.txt").read_text() == (first / "mixed" / "report.txt").read_text()
    finally:
        assert run_script("--stop") == "What was kept is removed.\n"
    check_nothing_is_left(first, second)
    run_script("--mixed", "--stop", status=2)


@needs_licences
@needs_sshd
@quickstart
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("options", "job"), [([], "part 1 of 5"), (["--mixed"], "counting words")])
def test_ctrl_c_ends_the_quickstart_without_a_traceback_and_leaves_nothing(options, job):
    with Prompts([str(SCRIPT), *options]) as terminal:
        folders = folders_of(terminal.expect("1. Run a pipeline", seconds=300))
        terminal.expect(job)
        assert [each for each in processes.running() if each.names(f"{folders[0]}/home")]
        terminal.type("\x03")
        assert terminal.finish() == 130
        assert "Interrupted. Everything that this run created is removed.\r\n" in terminal.text
        assert "Traceback" not in terminal.text
    check_nothing_is_left(*folders)


@needs_licences
@needs_sshd
@quickstart
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_quickstart_that_is_killed_leaves_nothing(signum, status):
    with subprocess.Popen([SCRIPT], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as script:
        output = "".join(itertools.takewhile(lambda line: "part 1 of 5" not in line, script.stdout))
        script.send_signal(signum)
        assert script.wait(30) == status
    folder = folder_of(output)
    processes.wait_until(lambda: not folder.exists(), "the end of the host")
    check_nothing_is_left(folder)


@needs_licences
@quickstart
@pytest.mark.timeout(600)
def test_jobs_on_a_host_of_the_user_go_on_after_ctrl_c(host, luigi_cfg):
    def jobs() -> list[str]:
        return [argv for _, argv in host.processes() if "/luigi-sshjob-quickstart/" in argv]

    # only a configuration in the current directory applies
    command = 'cd "$1" && exec "$2" "$3" -- --pause 1'
    with Prompts(["sh", "-c", command, "sh", str(luigi_cfg.path.parent), str(SCRIPT), host.alias]) as terminal:
        folder = folder_of(terminal.expect("1. Run a pipeline", seconds=300))
        terminal.expect("part 1 of 5")
        terminal.type("\x03")
        assert terminal.finish() == 130
        assert f"Jobs on {host.alias} go on; run this again and Luigi attaches to them." in terminal.text
    assert jobs()
    check_nothing_is_left(folder)
    processes.wait_until(lambda: not jobs(), "the end of the jobs")
    assert len(host.run("ls", "luigi-sshjob-quickstart").split()) == 3
    host.run("rm", "-rf", "luigi-sshjob-quickstart")


@needs_licences
def test_the_same_pipeline_runs_on_any_host(host, luigi_cfg, tmp_path):
    before = host.accepted_logins()
    arguments = ["--host", host.alias, "--result", str(tmp_path / "result"), "--local-scheduler", "--workers", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "luigi", "--module", "quickstart", "Report", *arguments, "--pause", "0", "--no-lock"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'examples'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
    )
    host.run("rm", "-rf", "luigi-sshjob-quickstart")
    assert "8 ran successfully" in done.stderr, done.stderr
    check_result((tmp_path / "result").read_text())
    assert host.accepted_logins() == before + 1


def test_each_test_in_a_page_exists():
    named = re.findall(r"``(test_\w+)``", "".join(path.read_text() for path in PAGES))
    assert len(named) > 70
    assert set(named) <= set(all_test_names())
