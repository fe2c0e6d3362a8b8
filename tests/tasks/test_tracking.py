"""Tracking URLs."""

from __future__ import annotations

import pytest

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.model import JobRef
from luigi_sshjob.tasks.tracking import TrackingUrl

from support.sample_tasks import Slow


@pytest.mark.parametrize(
    "pattern",
    [
        *("http://x/{", "http://x/}", "http://x/{jobs}", "http://x/{}", "http://x/{0}", "http://x/{host.name}"),
        *("http://x/{host!r}", "http://x/{host:>9}", "http://x/{host[0]}", "http://x/{job"),
        *("grafana/d/{host}", "javascript:alert({job})", "ftp://x/{job}", "http:///{host}", "http://[x/{host}"),
        *("http://x/ {job}", "http://x/\n{job}", 42),
    ],
)
def test_an_invalid_tracking_url_is_an_error_before_anything_is_sent(pattern, luigi_cfg):
    class Odd(Slow):
        tracking_url = pattern

    # a name that nothing could be asked of
    with pytest.raises(
        ConfigurationError,
        match=r"host nowhere\.invalid, job Odd_.*: tracking_url is not a valid URL pattern: .*\n*.*Next: ",
    ):
        Odd(host="nowhere.invalid", folder="x").run()


def test_a_tracking_url_is_quoted():
    url = TrackingUrl("https://x/{host}/{{{key}}}?{job}&{id}#{attempt}&{directory}&{task_id}", "gpu01", "A b/ü")
    job = JobRef("me@gpu01:22", "A_b", 3, "/home/m e/&?#\udcff")
    assert url.of(job) == ("https://x/gpu01/{A_b}?A_b%2F3&A_b%2F3#3&%2Fhome%2Fm%20e%2F%26%3F%23%FF&A%20b%2F%C3%BC")
