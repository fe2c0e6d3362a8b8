"""Other accounts of the host, and purges: what is in base_dir is checked before it is used."""

from __future__ import annotations

import pytest

from luigi_sshjob.doctor.checks.storage import check_base_dir, check_parents
from luigi_sshjob.doctor.probes.detach import open_shell
from luigi_sshjob.doctor.report import Status
from luigi_sshjob.doctor.runner import inspect_account
from luigi_sshjob.errors import RemoteCommandFailed
from luigi_sshjob.jobs.actions import Act, Action
from luigi_sshjob.jobs.model import State
from luigi_sshjob.remote import quoting, scripts

from support.error_producers import assert_complete

SECRET = {"TOKEN": "secret-of-the-job"}


def mallory(bench, script: str) -> str:
    """Run a script as another account, which is in the group of the account."""
    return bench.host.run("setpriv", "--reuid=4711", "--regid=1000", "--clear-groups", "sh", "-c", script, user="root")


def library(bench) -> str:
    return f"{bench.folder}/lib/{scripts.supervisor_hash()}"


def new_session(bench) -> None:
    """End the session that has checked the directories already."""
    bench.client.connection.close_shell()


def refusal(bench, **options) -> RemoteCommandFailed:
    with pytest.raises(RemoteCommandFailed) as caught:
        bench.submit("true", **options)
    assert caught.value.next_step.endswith("nothing was submitted")
    return caught.value


def doctor(bench):
    """The doctor's results about the base directory and its parents."""
    shell = open_shell(bench.client.connection.transport)
    try:
        base = inspect_account(shell, bench.base, 60).base
    finally:
        shell.close()
    return check_base_dir(base, bench.base), list(check_parents(base))


@pytest.mark.needs_docker
@pytest.mark.parametrize("open_directory", ["", "/lib", "/jobs"])
def test_scripts_that_others_could_plant_are_never_run_and_get_no_secret(bench, open_directory):
    bench.host.run("sh", "-c", f"chmod 711 ~ && mkdir -p -m 755 {bench.folder}/lib {bench.folder}/jobs")
    bench.host.run("chmod", "0775", f"{bench.folder}{open_directory}")
    evil = f"{bench.host.home}/{bench.folder}{open_directory}"
    planted = f"{evil}/{scripts.supervisor_hash()}" if open_directory == "/lib" else f"{evil}/lib"
    write = f"""
        umask 0
        mkdir /tmp/evil.$$ && cd /tmp/evil.$$ && mkdir {scripts.supervisor_hash()}
        for place in . {scripts.supervisor_hash()}; do
            for name in {" ".join(scripts.supervisor())} timer; do
                echo 'cat "$1/environment" >/tmp/stolen; id -u >>/tmp/stolen' >$place/$name
            done
        done
        [ {open_directory or "/"} = /jobs ] || {{ mv {planted} {planted}.before 2>/dev/null; ln -s $PWD {planted}; }}
    """
    mallory(bench, write)
    error = refusal(bench, environment=SECRET)
    if open_directory == "":
        assert (error.code, error.host) == ("writable-by-others", bench.host.alias)
        assert_complete(error, "other accounts can write to a directory")
    assert error.code in ("writable-by-others", "link-in-base")
    assert "chmod -R go-w" in error.next_step or "replace the link" in error.next_step
    assert bench.host.run("sh", "-c", "ls /tmp/stolen 2>/dev/null; true") == ""
    found = bench.host.run("grep", "-rl", SECRET["TOKEN"], evil, "/tmp", check=False, user="root")
    assert found == ""
    result, _ = doctor(bench)
    assert (result.status, error.problem in result.text) == (Status.FAIL, True)
    bench.host.run(
        "sh", "-c", f"rm -rf /tmp/evil.* /tmp/stolen; chmod -R go-w {bench.folder}", user="root", check=False
    )


def test_a_base_directory_that_is_a_link_is_refused(bench):
    bench.host.run("sh", "-c", f"mkdir -p -m 700 {bench.folder}/real && ln -s real {bench.folder}/link")
    bench.base += "/link"
    error = refusal(bench)
    assert_complete(error, "a symbolic link is in the place of a directory")
    assert error.code == "link-in-base"
    assert error.problem.endswith(f"/{bench.folder}/link leads to {bench.host.home}/{bench.folder}/real")
    assert bench.host.run("ls", "-A", f"{bench.folder}/real") == ""
    result, _ = doctor(bench)
    assert (result.status, "set base_dir to the directory itself" in result.remedy) == (Status.FAIL, True)
    bench.host.run("rm", f"{bench.folder}/link")


def test_a_link_among_the_parents_is_fine(bench):
    bench.host.run("sh", "-c", f"mkdir -p -m 700 {bench.folder}/real && ln -s real {bench.folder}/link")
    bench.base += "/link/jobs"
    assert bench.run("echo here")[1] == b"here\n"
    assert doctor(bench)[0].status is Status.OK


def test_a_base_directory_that_others_can_only_read_is_fine(bench):
    bench.host.run("mkdir", "-m", "755", bench.folder)
    assert bench.run("echo here")[1] == b"here\n"
    assert doctor(bench)[0].status is Status.NOTE


def test_what_we_create_is_private_whatever_the_umask_of_the_account(bench):
    assert bench.run("umask 002; echo here")[0].succeeded
    modes = bench.host.run(
        "sh", "-c", f"stat -c %a {bench.folder} {bench.folder}/lib {library(bench)} {bench.folder}/jobs"
    )
    assert modes.split() == ["700"] * 4


DAMAGE = {
    "a purged script": "rm {0}/supervise.sh",
    "a purged timer": "rm {0}/timer",
    "a truncated script": "head -c 100 {0}/supervise.sh >{0}/x && mv {0}/x {0}/supervise.sh",
    "a changed script of the same size": "tr a b <{0}/supervise.sh >{0}/x && mv {0}/x {0}/supervise.sh",
    "another timer": "echo /tmp/evil >{0}/timer",
    "a script that others can write": "chmod 666 {0}/supervise.sh",
    "a link to a script": "mv {0}/supervise.sh {0}/x && ln -s x {0}/supervise.sh",
    "a directory in its place": "rm {0}/supervise.sh && mkdir {0}/supervise.sh && touch {0}/supervise.sh/x",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_scripts_are_replaced_before_they_are_used(bench, damage):
    assert bench.run("echo before")[1] == b"before\n"
    bench.host.run("sh", "-c", DAMAGE[damage].format(library(bench)))
    if damage not in ("a purged script", "a purged timer", "a link to a script", "a directory in its place"):
        # the content is compared once in a session
        new_session(bench)
    assert bench.run("echo after")[1] == b"after\n"
    for name, text in scripts.supervisor().items():
        assert bench.host.run("cat", f"{library(bench)}/{name}") == f"{text}\n"
    assert bench.host.run("cat", f"{library(bench)}/timer").strip() in ("", "/usr/bin/time", "/bin/time")
    assert bench.host.run("find", f"{library(bench)}/", "-perm", "-002") == ""


@pytest.mark.needs_docker
def test_a_script_of_another_account_is_replaced_before_it_is_used(bench):
    assert bench.run("echo before")[1] == b"before\n"
    path = f"{bench.host.home}/{library(bench)}/supervise.sh"
    bench.host.run(
        "sh", "-c", f"echo 'echo evil >>/tmp/evil' >>{path}; chown 4711 {path}; chmod 644 {path}", user="root"
    )
    assert bench.run("echo after")[1] == b"after\n"
    assert bench.host.run("stat", "-c", "%u", path).strip() == "1000"
    assert bench.host.run("sh", "-c", "ls /tmp/evil 2>/dev/null; true") == ""


def test_a_purged_script_is_replaced_before_a_job_is_launched_again(bench):
    job = bench.submit("true").job
    bench.monitor.wait(job, lambda _: None)
    bench.host.run("sh", "-c", f"cd {job.directory} && rm -r started identity* exit_record exit_code run/*")
    bench.host.run("rm", f"{library(bench)}/supervise.sh")
    assert bench.client.perform(job, Action(Act.LAUNCH)) == ""
    assert bench.monitor.wait(job, lambda _: None).succeeded


def test_a_script_that_is_missing_on_a_node_is_named_in_the_log_of_the_supervisor(far_side):
    directory = far_side.submit("true")
    entry = f"{far_side.base}/entry"
    far_side.host.run("cp", f"{far_side.library}/scheduler_entry.sh", entry)
    far_side.host.run("rm", f"{far_side.library}/supervise.sh")
    words = (far_side.library, "0022", "7", "0", "0", "one", directory)
    far_side.host.run(*far_side.argv, entry, *words, check=False)
    log = far_side.host.run("cat", f"{directory}/supervisor.log")
    assert log.startswith("luigi_sshjob: a script is missing on ")
    assert log.endswith(f": {far_side.library}/supervise.sh\n")
    reported = far_side.call((quoting.Word("job_status"), directory, "-"))
    assert "luigi_sshjob: a script is missing on" in reported


def test_every_shell_refuses_what_others_control_and_replaces_what_is_damaged(far_side):
    directory = far_side.submit("true")
    status = (quoting.Word("job_status"), directory, "-")
    far_side.host.run("sh", "-c", f"echo x >>{far_side.library}/supervise.sh")
    relaunch = (quoting.Word("job_relaunch"), far_side.base, scripts.supervisor_hash(), directory)
    assert "token part uninstalled 0" in far_side.call(relaunch)
    files = [word for item in scripts.supervisor().items() for word in item]
    install = (quoting.Word("install_supervisor"), far_side.base, scripts.supervisor_hash(), *files)
    assert "uninstalled" not in far_side.call(install, relaunch)
    for name in ("", "/lib", "/jobs", f"/lib/{scripts.supervisor_hash()}"):
        path = far_side.base + name
        far_side.host.run("chmod", "g+w", path)
        response = far_side.call(install, relaunch, status, (quoting.Word("job_show"), directory))
        assert response.count("token part refused 0 writable-by-others\n") == 3
        assert f"token part state 0 unknown\nother accounts can write to a directory: {path}\n" in response
        far_side.host.run("chmod", "g-w", path)
    assert "state 0 claimed" in far_side.call(status)


@pytest.mark.parametrize("request_", ["poll_subscriptions recent", "submit_many", "echo_back here"])
def test_every_request_may_end_the_minute_for_which_modes_are_known(far_side, request_):
    directory = far_side.submit("true")
    status = (quoting.Word("job_status"), directory, "-")
    change = (quoting.Word("eval"), f"chmod g+w {far_side.base}/jobs; SJ_APPROVED_UNTIL=0")
    look = (quoting.Word("eval"), f'is_private {far_side.base} || emit "$danger"')
    response = far_side.call(status, look, change, tuple(map(quoting.Word, request_.split())), look)
    assert response.count("other accounts can write to a directory") == 1


def test_a_base_directory_is_refused_while_its_mode_cannot_be_checked(bench):
    bench.host.run("mkdir", bench.folder)
    bench.client.connection.request("eval", "find() { echo cannot fork >&2; return 2; }")
    assert_complete(refusal(bench), "the permissions of a directory cannot be checked")
    new_session(bench)
    assert bench.run("echo here")[1] == b"here\n"


def test_a_running_job_whose_base_directory_is_opened_is_not_lost(bench):
    job = bench.submit(bench.until_released("echo end")).job
    bench.host.run("chmod", "g+w", bench.folder)
    new_session(bench)
    status = bench.client.status(job)
    assert (status.state, "other accounts can write" in status.reason) == (State.UNKNOWN, True)
    with pytest.raises(RemoteCommandFailed, match="other accounts can write"):
        bench.client.collect(job)
    bench.host.run("chmod", "g-w", bench.folder)
    bench.release()
    assert bench.monitor.wait(job, lambda _: None).succeeded


@pytest.mark.needs_docker
@pytest.mark.parametrize("planted", ["Task", "Task/1", "a link"])
def test_a_job_directory_of_another_account_is_neither_attached_to_nor_run(bench, planted):
    assert bench.run("true")[0].succeeded
    jobs = f"{bench.host.home}/{bench.folder}/jobs"
    bench.key = "Other"
    copy = f"cp -r {jobs}/Task {jobs}/Other && rm {jobs}/Other/1/collected"
    if planted == "a link":
        bench.host.run(
            "sh", "-c", f"mkdir {jobs}/x && {copy} && mv {jobs}/Other/1 {jobs}/x && ln -s ../x/1 {jobs}/Other/1"
        )
    else:
        bench.host.run("sh", "-c", f"{copy} && chmod -R a+rX {jobs}/Other")
        bench.host.run("chown", "4711", f"{jobs}/{planted.replace('Task', 'Other')}", user="root")
    error = refusal(bench)
    assert error.code == ("link-in-base" if planted == "a link" else "foreign-directory")
    bench.host.run("rm", "-r", f"{jobs}/Other", user="root")


@pytest.mark.needs_docker
def test_the_doctor_reports_parents_in_which_others_can_replace_the_base_directory(bench):
    team, foreign, sticky = "/srv/team", "/srv/foreign", "/srv/sticky"
    made = (
        f"-o 1000 -g 1000 -m 775 {team} {team}/own",
        f"-o 4711 {foreign}",
        f"-o 1000 {foreign}/own",
        f"-m 1777 {sticky}",
    )
    bench.host.run("sh", "-c", "; ".join(f"install -d {each}" for each in made), user="root")
    found = {}
    for base in (f"{team}/jobs", f"{foreign}/own/jobs", f"{sticky}/jobs"):
        bench.base = base
        assert bench.run("echo here")[1] == b"here\n"
        result, found[base] = doctor(bench)
        assert result.status is Status.OK
    (writable,), (belongs,), none = found.values()
    assert f"{team} can be written by other accounts" in writable.text
    assert f"`chmod +t {team}`" in writable.remedy
    assert (writable.status, writable.measured["writable"]) == (Status.NOTE, [team])
    assert f"{foreign} belongs to another account" in belongs.text
    assert none == []
    bench.host.run("rm", "-r", team, foreign, sticky, user="root")
