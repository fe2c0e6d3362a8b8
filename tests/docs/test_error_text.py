"""The text of an error."""

from __future__ import annotations

from luigi_sshjob.errors import JobFailed, RemoteCommandFailed


def test_errors_name_host_job_and_the_next_step():
    error = JobFailed("it failed", host="box", job="Task/1", next_step="look")
    assert str(error) == "host box, job Task/1: it failed\nNext: look"
    assert str(RemoteCommandFailed("no", host="box", returncode=2)) == "host box: no"
