"""The error classes: they can be pickled and copied, and take their host, job and action from the context."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path

import pytest

from luigi_sshjob import errors
from luigi_sshjob.error_context import error_context, translate_os_errors
from luigi_sshjob.errors import ConfigurationError, JobFailed, LocalResourceError, SSHJobError
from luigi_sshjob.jobs.outcome import Outcome


def test_an_error_keeps_its_attributes_when_pickled_or_copied():
    error: SSHJobError
    for error in (
        JobFailed("it failed", host="box", job="Task/1", doing="x", next_step="look", outcome=Outcome("failed")),
        errors.FileMissing("there is none", path="/a", host="box", next_step="look"),
        errors.LocalFileError("it cannot be", number=28, host="box"),
        errors.PathExists("there is one", host="box"),
        errors.RemoteCommandFailed("it failed", returncode=3, cmd="x", output=b"y", host="box"),
        errors.CommandMissing("there is none"),
    ):
        for same in (pickle.loads(pickle.dumps(error)), error.copy_for(job=error.job, doing=error.doing)):
            assert (type(same), str(same), vars(same)) == (type(error), str(error), vars(error))
            assert (getattr(same, "errno", 0), getattr(same, "filename", 0)) == (
                getattr(error, "errno", 0),
                getattr(error, "filename", 0),
            )
        assert (error.copy_for().job, error.copy_for().doing) == (None, "")


@pytest.mark.parametrize("problem", ["it failed", "", "no: one, while x: y\nThe last lines:\n  | a\nNext: b"])
def test_a_message_can_be_taken_apart(problem):
    for host, job, doing, next_step in itertools.product(
        ("", "a@box:22"), ("", "T_1/2"), ("", "moving a, b"), ("", "look")
    ):
        error = SSHJobError(problem, host=host, job=job, doing=doing, next_step=next_step)
        message = errors.read_message(str(error))
        assert message == errors.Message(problem.replace("\nNext:", "\n Next:"), host, job, doing, next_step)


def test_an_inner_error_context_wins():
    with (
        pytest.raises(ConfigurationError) as caught,
        error_context("outside", host="other", job="Task/1"),
        error_context("inside\n", host="box"),
    ):
        raise ConfigurationError("it is wrong", next_step="fix it")
    assert str(caught.value) == "host box, job Task/1, while 'inside\\n': it is wrong\nNext: fix it"
    said = r"host box, while looking: .*: No such file .*missing\)\nNext: "
    with pytest.raises(LocalResourceError, match=said), translate_os_errors("looking", host="box"):
        Path("/missing").read_bytes()
