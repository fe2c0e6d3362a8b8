"""Collecting an attempt that another one follows, under each common /bin/sh, without SSH."""

from __future__ import annotations

from luigi_sshjob.remote import quoting


def test_an_attempt_is_collected_for_a_retry_when_nothing_of_it_runs(far_side):
    def retry(grace: str) -> str:
        return far_side.call((quoting.Word("job_retry"), directory, "me\nretried: yes", grace))

    directory = far_side.submit("sleep 471 & kill -9 $$")
    assert far_side.supervise(directory).state == "killed"
    assert "token part alive 0" in retry("-")
    assert far_side.running("sleep 471")
    assert retry("1") == "\ntoken end 0 0\n"
    assert not far_side.running("sleep 471")
    mark = far_side.host.run("cat", f"{directory}/collected")
    assert mark.startswith("collected_by: me\nretried: yes\njob: Task/1\noutcome: killed\n")
    assert "\ntoken part collected 0 \ncollected_by: me\nretried: yes\n" in retry("-")
    far_side.host.run("rm", "-r", directory)
    assert "token part gone 0" in retry("-")


def test_a_claim_keeps_the_line_about_a_retry_and_tells_it(far_side):
    directory = far_side.submit("true")
    far_side.host.run("sh", "-c", f"echo '{{\"a\": 1}}' >>{directory}/digests")
    survey = (quoting.Word("job_survey"), far_side.base, "0", "Task/1", "Task/2")
    # as the retry of a first attempt
    far_side.host.run("mv", directory, f"{far_side.base}/jobs/Task/2")
    assert 'token part retry 0 \n{"a": 1}\n' in far_side.call(survey)
