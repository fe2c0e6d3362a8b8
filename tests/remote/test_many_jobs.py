"""What makes many jobs cheap, under each common /bin/sh: submissions together, and ends that are told."""

from __future__ import annotations

import re

import pytest

from luigi_sshjob.jobs.inputs import CachedInput, entry_words
from luigi_sshjob.jobs.model import tag_of
from luigi_sshjob.jobs.spec import JobSpec
from luigi_sshjob.remote import quoting, scripts

from support.processes import wait_until

POLL_RECENT = (quoting.Word("poll_subscriptions"), "recent")
POLL_ALL = (quoting.Word("poll_subscriptions"), "all")


def shell(text: str) -> tuple[str, ...]:
    return quoting.Word("eval"), text


COUNTED = shell("""moves=0; directories=0; mv() { moves=$((moves + 1)); command mv "$@"; }
    mkdir() { directories=$((directories + 1)); command mkdir "$@"; }""")


def submission(far_side, key: str, command: str = "true", known: int = 0, inputs=()) -> str:
    spec = JobSpec(key=key, command=command, inputs=inputs)
    words = (far_side.base, key, "nohup", scripts.supervisor_hash(), str(known), "", spec.digests)
    texts = spec.spec_text(), spec.command, spec.environment_text(), ""
    return " ".join(map(quoting.word, (*words, *texts, *entry_words(inputs, ""))))


def subscription(directory: str, known: str, number: int = 7) -> tuple[str, ...]:
    key, attempt = directory.split("/")[-2:]
    return quoting.Word("subscribe"), str(number), directory, f"{tag_of(key)}_{attempt}", "0", known, ""


@pytest.fixture
def held(far_side) -> str:
    """The directory of a job that runs until it has a file `go`."""
    directory = far_side.submit('touch "$SSHJOB_DIR/began"; while ! [ -e "$SSHJOB_DIR/go" ]; do sleep 0.1; done')
    far_side.start(directory)
    # with all of its processes
    far_side.host.run("sh", "-c", f"while ! [ -e {directory}/began ]; do sleep 0.1; done")
    yield directory
    far_side.host.run("touch", f"{directory}/go")
    # before the directory is removed
    wait_until(lambda: not far_side.running(directory), "the end of the job")


def watched(directory: str) -> tuple[tuple[str, ...], ...]:
    """Requests after which the job is looked at in polls of all jobs only."""
    return subscription(directory, "claimed"), POLL_RECENT, subscription(directory, "running"), *[POLL_RECENT] * 12


def end_of(directory: str) -> str:
    return f"touch {directory}/go; while ! [ -e {directory}/exit_record ]; do sleep 0.1; done; sleep 0.2"


def test_submissions_of_new_tasks_share_their_processes_and_the_others_are_served_one_by_one(far_side):
    """None is claimed twice, and each gets its own response, also one that is refused."""
    first = far_side.submit("true")
    far_side.host.run("touch", f"{far_side.base}/jobs/Blocked")
    new = [submission(far_side, f"New_{number}", f"echo 'it is' {number}") for number in range(3)]
    requests = [new[0], submission(far_side, "Task"), new[1], submission(far_side, "Blocked"), new[1], new[2]]
    response = far_side.call(
        COUNTED,
        (quoting.Word("submit_many"), *requests[:3], *requests[4:]),
        (quoting.Word("eval"), 'part counted 0 "$directories $moves"'),
        (quoting.Word("submit_many"), *requests),
    )
    together, alone = response.split("token part counted 0 1 1\n")
    for answers, claimed in ((together, "claimed"), (alone, "found")):
        parts = re.split(r"\n?token part request (\d)", answers)
        answer = dict(zip(parts[1::2], parts[2::2], strict=True))
        shift = 0 if claimed == "found" else -1
        for number, index in enumerate((0, 2, 5 + shift)):
            directory = f"{far_side.base}/jobs/New_{number}/1"
            assert f"token part {claimed} 1 \n{directory}\n" in answer[str(index)]
            assert f"token part status {index} 0\n" in answer[str(index)]
            assert far_side.host.run("cat", f"{directory}/command") == f"echo 'it is' {number}\n"
        assert f"token part found 1 \n{first}\n" in answer["1"]
        assert f"token part found 1 \n{far_side.base}/jobs/New_1/1\n" in answer[str(4 + shift)]
    assert "token part refused 0 directory-not-writable\n" in answer["3"]
    assert "token part status 3 1\n" in answer["3"]
    assert far_side.host.run("sh", "-c", f"ls -A {far_side.base}/lib") == f"{scripts.supervisor_hash()}\n"


@pytest.mark.parametrize("lost", ["nothing", "the file"])
def test_an_end_is_told_to_a_session_that_looks_at_few_jobs(far_side, held, lost):
    """If it was not told, a poll of all jobs finds it."""
    lose = f"rm {far_side.base}/lib/.look.*.news" if lost == "the file" else ":"
    response = far_side.call(
        *watched(held),
        shell(f"{lose}; part quiet 0; {end_of(held)}"),
        *(POLL_RECENT, shell("part all 0"), POLL_ALL),
    )
    assert response.count("token part state 7 ended\n") == 1
    before, told, late = re.split(r"token part (?:quiet|all) 0 \n", response)
    assert before.count("token part state 7 running\n") == 1
    assert "token part state 7 ended\n" in (told if lost == "nothing" else late)
    assert far_side.host.run("sh", "-c", f"ls -A {far_side.base}/lib") == f"{scripts.supervisor_hash()}\n"


def test_jobs_whose_inputs_are_in_the_cache_are_claimed_together(far_side):
    far_side.submit("true")
    cached, lacking = (CachedInput(f"SSHJOB_INPUT_{digit}", digit * 64, "name") for digit in "12")
    make = f"umask 077; mkdir -p {far_side.base}/cache/{cached.entry}; cd {far_side.base}/cache/{cached.entry}"
    far_side.host.run(
        "sh", "-c", f"{make} && echo shared >content && chmod 400 content && true >verified && true >used"
    )
    keys = {"One": [cached], "Two": [cached, lacking], "Three": [cached], "Four": []}
    requests = [submission(far_side, key, 'cat "$SSHJOB_INPUT_1"', inputs=inputs) for key, inputs in keys.items()]
    response = far_side.call(
        COUNTED,
        (quoting.Word("submit_many"), *requests),
        (quoting.Word("eval"), 'part counted 0 "$moves"'),
    )
    assert "token part counted 0 1\n" in response
    assert response.count("token part claimed 1 \n") == 3
    assert response.count("token part lacking 0 ") == response.count(f"token part lacking 0 {lacking.entry}\n") == 1
    directory = f"{far_side.base}/jobs/Three/1"
    assert far_side.supervise(directory).succeeded
    assert far_side.host.run("cat", f"{directory}/log") == "shared\n"


def test_each_subscription_of_a_job_is_told_of_its_end(far_side, held):
    """Also after another one was dropped, and after somebody has removed the file."""
    response = far_side.call(
        *watched(held),
        *(subscription(held, "running", number) for number in (8, 9)),
        *[POLL_RECENT] * 12,
        (quoting.Word("unsubscribe"), "9"),
        *(shell(f"rm {far_side.base}/lib/.look.*.news"), POLL_RECENT, shell(f"part quiet 0; {end_of(held)}")),
        POLL_RECENT,
    )
    told = response.partition("token part quiet 0 \n")[2]
    assert sorted(re.findall(r"token part state (\d) ended\n", told)) == ["7", "8"]


@pytest.mark.parametrize("polls", [2, 3])
def test_a_poll_of_all_jobs_finds_a_line_whatever_was_polled_before(far_side, held, polls):
    """Where the time of the log cannot be kept."""
    line = shell(f"echo line >>{held}/log; sleep 0.05")
    response = far_side.call(
        shell("touch() { return 1; }"),
        *watched(held),
        *(POLL_ALL, line, POLL_ALL),
        # busybox compares whole seconds, and notifies twice
        *(shell("sleep 1.1"), POLL_ALL, subscription(held, "running"), POLL_RECENT),
        *(subscription(held, "running"), *[POLL_RECENT] * 12, POLL_ALL),
        *(*[POLL_RECENT] * polls, shell("part second 0"), line, POLL_ALL),
    )
    assert "token part log 7 \nline\nline\n" in response.partition("token part second 0 \n")[2]


@pytest.mark.parametrize("text", ["", "line"])
def test_a_poll_of_all_jobs_does_not_load_a_job_without_news(far_side, held, text):
    """Neither a silent one nor one whose lines were seen; the next line is."""
    response = far_side.call(
        *(*watched(held), shell(f"{'echo line' if text else ':'} >>{held}/log; sleep 1.1"), POLL_ALL),
        *(subscription(held, "running"), *[POLL_RECENT] * 12, shell("sleep 1.1"), POLL_ALL, POLL_ALL),
        shell('look_at_job() { part looked 0; set_since; new_log=yes; notify_change "$1"; }'),
        *(POLL_ALL, POLL_ALL, shell(f"part next 0; echo next >>{held}/log"), POLL_ALL),
    )
    before, after = response.split("token part next 0 \n")
    assert "token part looked" not in before
    assert f"token part log 7 \n{'line' if text else ''}" in after
    assert "next\n" in after


def test_a_process_with_a_number_that_is_used_again_is_not_taken_for_the_job(far_side, held):
    own = " ".join(map(str, far_side.running(held)))
    ended = f"for each in {own}; do while kill -0 $each; do sleep 0.1; done; done 2>/dev/null"
    other = "sleep 453 5</dev/null & load_job 7; pid=$! command=$!; save_job; learn_steady"
    response = far_side.call(
        *(*watched(held), POLL_ALL, shell("part reused 0"), shell(other)),
        shell(f"kill -s KILL {own}; {ended}"),
        *(POLL_ALL, POLL_ALL, shell("kill $!")),
    )
    assert "token part state 7 lost\n" in response.partition("token part reused 0 \n")[2]


def test_a_damaged_identity_ends_no_session(far_side, held):
    far_side.host.run("sh", "-c", f'echo "command: it\'s * damaged" >>{held}/identity')
    # each request gets a response
    far_side.call(*watched(held), POLL_ALL, POLL_ALL)


def test_the_logs_of_many_ended_jobs_do_not_come_in_one_response(far_side):
    # installs the supervisor
    directories = [far_side.submit("echo line")]
    far_side.supervise(directories[0])
    for number in range(3):
        far_side.call((quoting.Word("submit_many"), submission(far_side, f"Task_{number}", "echo line")))
        directories.append(f"{far_side.base}/jobs/Task_{number}/1")
        far_side.supervise(directories[-1])
    polls = [POLL_RECENT] * 4
    response = far_side.call(
        shell("SJ_READS=1 SJ_LAST_READS=2"),
        *(subscription(directory, "running", number) for number, directory in enumerate(directories)),
        *(request for poll in polls for request in (poll, shell("part next 0"))),
    )
    counts = [part.count(" ended\n") for part in response.split("token part next 0 \n")]
    assert sum(counts) == 4
    assert max(counts) == 2


def test_what_sessions_of_another_machine_have_left_goes_although_jobs_still_tell_them(far_side):
    """A session in use has stamps besides; those are removed a day after their last change."""
    used, left = (f"{far_side.base}/lib/.look.another-boot.{number}.{number}" for number in (7, 8))
    far_side.call((quoting.Word("own_directory"), f"{far_side.base}/lib"))
    far_side.host.run("touch", f"{used}.news", f"{used}.recent1", f"{left}.news")
    far_side.submit("true")
    assert far_side.host.run("sh", "-c", f"ls {far_side.base}/lib/.look*").split() == [
        f"{used}.news",
        f"{used}.recent1",
    ]
