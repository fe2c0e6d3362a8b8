"""What hosts know about tasks of a pool, under each common /bin/sh: looks and placements."""

from __future__ import annotations

import re

import pytest

from luigi_sshjob.remote import quoting

LOOK, WRITE = quoting.Word("pool_look"), quoting.Word("pool_write")


def look(far_side, *keys: str, room: str = "") -> str:
    return far_side.call((LOOK, far_side.base, room, "", "gpu:2", *keys))


def write(far_side, *placements: str) -> list[str]:
    """The texts of the placements that count."""
    response = far_side.call((WRITE, far_side.base, *placements))
    assert response.endswith("end 0 0\n")
    return re.findall(r"part placement \d \d+\n(.*)\n", response.replace(" \n", "\n"))


@pytest.fixture
def parts(far_side):
    """Returns a function that returns the parts about tasks, after a look."""
    return lambda *keys: re.findall(r"token part ((?:trace|published|placement) .*\n(?!\n).*)\n", look(far_side, *keys))


def test_the_first_placement_of_a_generation_is_kept_and_the_highest_counts(far_side, parts):
    assert write(far_side, "Task", "1", "gpu01 0", "Task.1", "1", "gpu03 0") == ["gpu01 0", "gpu03 0"]
    # another client; and the same one, whose response was lost
    assert write(far_side, "Task", "1", "gpu02 0", "New", "1", "gpu02 0") == ["gpu01 0", "gpu02 0"]
    assert write(far_side, "Task", "1", "gpu01 0") == ["gpu01 0"]
    assert write(far_side, "Task", "2", "me@gpu02:22 7") == ["me@gpu02:22 7"]
    # one that has waited since
    assert write(far_side, "Task", "1", "gpu03 0", "Other", "1", "gpu01 0") == ["me@gpu02:22 7", "gpu01 0"]
    assert far_side.host.run("ls", f"{far_side.base}/pools/Task").split() == ["2"]
    assert not far_side.host.run("sh", "-c", f"ls -A {far_side.base}/lib").split()
    assert "token part placement 1 2\nme@gpu02:22 7\n" in look(far_side, "Nothing", "Task")
    # damage, as of a power cut, is shown, and replaced by the next generation only
    far_side.host.run("sh", "-c", f": >{far_side.base}/pools/Task/2/placement; mkdir {far_side.base}/pools/Task/2x")
    assert "token part placement 0 2\n\n" in look(far_side, "Task")
    assert write(far_side, "Task", "2", "gpu01 9") == [""]
    far_side.host.run("sh", "-c", f"head -c 9999 /dev/zero | tr '\\0' x >{far_side.base}/pools/Task/2/placement")
    assert "token part placement 0 2\n\n" in look(far_side, "Task")
    assert write(far_side, "Task", "3", "gpu01 9") == ["gpu01 9"]


def test_a_look_shows_the_latest_attempt_and_how_busy_the_host_is(far_side):
    assert re.search(r"token part load 0 \d+\.\d\d \d+\n", look(far_side, "Task", room="load"))
    assert "load" not in look(far_side, "Task")
    assert "trace" not in look(far_side, "Task")
    directory = far_side.submit("true")
    assert "token part trace 0 1 claimed\n" in look(far_side, "Task")
    far_side.supervise(directory)
    assert "token part trace 1 1 ended\n" in look(far_side, "Nothing", "Task")
    collect = (quoting.Word("job_collect"), directory, "somebody")
    assert "part trace 0 1 collected\n" in far_side.call(collect, (LOOK, far_side.base, "", "", "", "Task"))
    far_side.host.run("sh", "-c", f"echo 'retried: yes' >>{directory}/collected")
    assert "part trace 0 1 retried\n" in look(far_side, "Task")
    far_side.host.run("sh", "-c", f"touch {directory}/../exit_record {directory}/../log")
    assert "token part published 0 \n" in look(far_side, "Task")
    # without any file it does not count
    far_side.host.run("mkdir", f"{directory}/../2")
    assert "part trace 0 1 -\n" in look(far_side, "Task")


def test_the_number_of_an_attempt_is_not_used_again_after_it_was_removed(far_side):
    directory = far_side.submit("true")
    far_side.supervise(directory)
    write(far_side, "Task", "1", "gpu01 0")
    collect = (quoting.Word("job_collect"), directory, "somebody")
    far_side.call(collect, (quoting.Word("job_discard"), directory))
    assert far_side.host.run("sh", "-c", f"ls {far_side.base}/jobs") == ""
    assert "token part trace 0 1 collected\n" in look(far_side, "Task")
    assert far_side.submit("true", number=2) == f"{far_side.base}/jobs/Task/2"


def test_a_host_that_cannot_keep_a_placement_or_an_attempt_says_why(far_side):
    far_side.submit("true")
    if far_side.host.kind != "docker":
        pytest.skip("root writes anywhere")
    base = far_side.base

    def changed(modes: str) -> str:
        far_side.host.run("sh", "-c", f"mkdir -p {base}/pools; cd {base} && chmod {modes}")
        return look(far_side, "Task", room="load")

    reason = r"part unwritable 0 \n.*[Pp]ermission denied\n"
    assert re.search(reason, changed("500 jobs"))
    assert re.search(reason, changed("700 jobs; chmod 500 pools lib"))
    response = far_side.call((WRITE, base, "Task", "1", "gpu01 0"))
    assert re.search(rf"part unwritten 0 \n{base}/pools: .*denied\n", response)
    # the other tasks of a request are not concerned
    changed("700 pools lib; mkdir pools/Task; chmod 500 pools/Task")
    response = far_side.call((WRITE, base, "Task", "1", "gpu01 0", "Other", "1", "gpu01 0"))
    assert re.search(rf"part unwritten 0 \n{base}/pools/Task: .*denied\n", response)
    assert "part placement 1 1\ngpu01 0\n" in response
    assert re.search(reason, changed("500 pools"))
    changed("700 pools pools/Task")
    assert "unwritable" not in changed("700 pools lib")
    assert "part refused 0 writable-by-others\n" in changed("770 pools")
    changed("700 pools")
    # it has never been used
    new = f"{base}/locked/new"
    far_side.host.run("sh", "-c", f"mkdir -m 500 {base}/locked")
    assert re.search(reason, far_side.call((LOOK, new, "load", "", "", "Task")))


@pytest.mark.needs("flock")
def test_a_look_may_show_who_has_slots(far_side):
    response = look(far_side, "Task", room="slots")
    has_flock = far_side.host.run(*far_side.argv, "-c", "command -v flock || true")
    assert ("part supply 0 gpu:2 setting\n" if has_flock else "part refused 0 no-flock\n") in response
    assert "supply" not in look(far_side, "Task")
