"""Tests of tasks: a throwaway host on this machine, or a recorder in place of all hosts. Needs no pytest."""

from luigi_sshjob.testing.host import ThrowawayHost, throwaway_host
from luigi_sshjob.testing.recorded_job import RecordedJob
from luigi_sshjob.testing.recorder import Recorder, record_jobs

__all__ = ["RecordedJob", "Recorder", "ThrowawayHost", "record_jobs", "throwaway_host"]
