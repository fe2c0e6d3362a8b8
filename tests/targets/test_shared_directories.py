"""Directories where other accounts may write, too: their files and links are never followed or replaced."""

from __future__ import annotations

import re

import pytest

from luigi_sshjob import RemoteTarget
from luigi_sshjob.errors import JobError, RemoteCommandFailed
from luigi_sshjob.jobs.spec import Output

from support import processes
from support.hosts import CommandFailed

OTHER = "nobody"
pytestmark = pytest.mark.needs_docker


@pytest.fixture
def shared(host, folder):
    """A directory like /tmp on the host."""
    path = f"{folder}/shared"
    # the owner of a sticky directory may replace each file in it
    script = f"chmod 755 {folder}; mkdir {path}; chmod 1777 {path}; chown root {path}"
    host.run("sh", "-c", script, user="root")
    yield path
    host.run("rm", "-rf", path, user="root")


def listed(host, path: str) -> list[str]:
    return host.run("ls", "-A", path, user="root").split()


def test_a_written_file_is_in_a_private_directory_with_a_random_name(host, files, shared):
    names = []
    for name in ("a", "b"):
        with RemoteTarget(f"{shared}/{name}", host.alias).open("w") as out:
            out.write("secret")
            out.flush()
            (directory,) = (each for each in listed(host, shared) if each.startswith(".sshjob-tmp."))
            assert host.run("stat", "-c", "%a %U", f"{shared}/{directory}") == "700 job\n"
            with pytest.raises(CommandFailed, match="denied"):
                host.run("sh", "-c", f"ln -s /etc/passwd {shared}/{directory}/x", user=OTHER)
            names.append(re.fullmatch(r"\.sshjob-tmp\..*\.([0-9a-f]{32})", directory)[1])
        assert host.run("stat", "-c", "%a", f"{shared}/{name}") == "644\n"
    assert names[0] != names[1]
    files.copy(f"{shared}/a", f"{shared}/c")
    assert listed(host, shared) == ["a", "b", "c"]


def test_a_link_at_the_final_path_is_replaced_or_refused_and_never_followed(host, files, shared, tmp_path):
    host.run("sh", "-c", "mkdir -p trap; echo mine >trap/file")
    (tmp_path / "f").write_text("new")
    host.run("ln", "-s", f"{host.home}/trap/file", f"{shared}/own")
    files.put(tmp_path / "f", f"{shared}/own")
    assert host.run("cat", "trap/file", f"{shared}/own") == "mine\nnew"
    for number, target in enumerate(("trap", "trap/file")):
        host.run("ln", "-s", f"{host.home}/{target}", f"{shared}/planted{number}", user=OTHER)
        with pytest.raises(Exception, match=r"already exists|cannot be put in place"):
            files.put(tmp_path / "f", f"{shared}/planted{number}")
    assert host.run("sh", "-c", "ls trap; cat trap/file; rm -r trap") == "file\nmine\n"
    assert listed(host, shared) == ["own", "planted0", "planted1"]


def test_a_foreign_file_in_a_sticky_directory_is_a_clear_error(host, files, shared, tmp_path):
    (tmp_path / "f").write_text("new")
    host.run("sh", "-c", f"echo theirs >{shared}/f", user=OTHER)
    with pytest.raises(RemoteCommandFailed, match=r"cannot be put in place: .*another account owns it"):
        files.put(tmp_path / "f", f"{shared}/f")
    assert (host.run("cat", f"{shared}/f"), listed(host, shared)) == ("theirs\n", ["f"])


def test_planted_temporary_files_are_left_alone(host, files, shared, tmp_path):
    host.run("sh", "-c", "mkdir -p precious; touch -d '9 days ago' precious/f precious")
    plant = f"ln -s {host.home}/precious {shared}/.sshjob-tmp.a.1.2; mkdir {shared}/.sshjob-tmp.a.3.4"
    host.run("sh", "-c", f"{plant}; touch -h -d '9 days ago' {shared}/.sshjob-tmp.*", user=OTHER)
    (tmp_path / "f").write_text("new")
    files.put(tmp_path / "f", f"{shared}/f")
    assert host.run("sh", "-c", "ls precious; rm -r precious") == "f\n"
    assert listed(host, shared) == [".sshjob-tmp.a.1.2", ".sshjob-tmp.a.3.4", "f"]


def test_the_output_of_a_job_is_in_a_private_directory_until_it_has_succeeded(bench, shared):
    host = bench.host
    plant = "for n in 1 2 3; do ln -s /home/job/victim .sshjob-0-$n; done"
    host.run("sh", "-c", f"cd {shared}; {plant}", user=OTHER)
    outputs = (Output("SSHJOB_OUTPUT", f"{shared}/out.csv"),)
    command = 'echo "$SSHJOB_OUTPUT" >"$SSHJOB_OUTPUT"; stat -c "%a" "${SSHJOB_OUTPUT%/*}" >>"$SSHJOB_OUTPUT"'
    assert bench.run(command, outputs=outputs)[0].succeeded
    path, mode = host.run("cat", f"{shared}/out.csv").split()
    assert re.fullmatch(rf"{shared}/\.sshjob-[0-9a-f]{{32}}-1/out\.csv", path)
    assert (mode, host.run("stat", "-c", "%a", f"{shared}/out.csv")) == ("700", "644\n")
    assert [name for name in listed(host, shared) if not name.startswith(".sshjob-0")] == ["out.csv"]
    host.run("sh", "-c", f"echo theirs >{shared}/foreign", user=OTHER)
    outcome, _ = bench.run('echo x >"$SSHJOB_OUTPUT"', outputs=(Output("SSHJOB_OUTPUT", f"{shared}/foreign"),))
    assert "another account owns it" in outcome.reason
    assert host.run("cat", f"{shared}/foreign") == "theirs\n"


@pytest.mark.parametrize("how", ["collect", "remove", "discard"])
def test_temporary_outputs_of_a_killed_job_are_removed(bench, shared, how):
    """Before the next attempt, by cleanup and by gc."""
    host = bench.host
    options = {"outputs": (Output("SSHJOB_OUTPUT", f"{shared}/out"),)}
    command = 'mkdir "$SSHJOB_OUTPUT"; echo x >"$SSHJOB_OUTPUT/x"; chmod 500 "$SSHJOB_OUTPUT"; exec sleep 611'
    job = bench.submit(command, **options).job
    bench.wait_until_running("sleep 611")
    host.run("sh", "-c", f"mkdir {shared}/.sshjob-0-1", user=OTHER)
    host.run("kill", "-9", str(bench.supervisor()))
    host.run("kill", "-9", *(str(pid) for pid, args in host.processes() if "sleep 611" in args), check=False)
    processes.wait_until(lambda: bench.client.status(job).state.final, "the end of the job")
    assert len(listed(host, shared)) == 2
    if how == "collect":
        bench.client.collect(job)
        processes.wait_until(lambda: len(listed(host, shared)) == 1, "the removal in the background")
    else:
        # as an earlier version has marked it
        record = f"echo outcome: lost >{job.directory}/exit_record; " if how == "remove" else ""
        host.run("sh", "-c", f"{record}echo outcome: lost >{job.directory}/collected")
        bench.client.remove(job) if how == "remove" else bench.listing.discard([job])
    assert listed(host, shared) == [".sshjob-0-1"]


def test_an_old_output_that_a_killed_job_was_about_to_replace_is_put_back(bench, shared):
    host = bench.host
    command = 'mkdir "$SSHJOB_OUTPUT"; exec sleep 612'
    job = bench.submit(command, outputs=(Output("SSHJOB_OUTPUT", f"{shared}/own/out"),)).job
    bench.wait_until_running("sleep 612")
    host.run("kill", "-9", str(bench.supervisor()))
    host.run("kill", "-9", *(str(pid) for pid, args in host.processes() if "sleep 612" in args), check=False)
    processes.wait_until(lambda: bench.client.status(job).state.final, "the end of the job")
    (private,) = listed(host, f"{shared}/own")
    # where the supervisor would have been killed between its two renames
    old = f"{shared}/own/{private}/.sshjob-replaced"
    host.run("sh", "-c", f"mkdir {old}; echo old >{old}/x; chmod 500 {shared}/own")
    bench.client.collect(job)
    # it is the only copy
    with pytest.raises(JobError, match="temporary outputs of a job cannot be removed"):
        bench.listing.discard([job])
    assert host.run("cat", f"{old}/x") == "old\n"
    host.run("chmod", "700", f"{shared}/own")
    bench.listing.discard([job])
    assert listed(host, f"{shared}/own") == ["out"]
    assert host.run("cat", f"{shared}/own/out/x") == "old\n"
