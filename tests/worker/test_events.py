"""The events of a job, with a process for each task and without."""

from __future__ import annotations

import pytest

from support.following_task import Followed
from support.recording_tasks import noted

# until the handler of STARTED has been called, or the directory of the test is gone
SEEN = 'while [ -d "$PWD" ] && ! [ -e started-{} ]; do sleep 0.1; done'
DIE = """kill -9 "$(sed -n 's/^pid: //p' "$SSHJOB_DIR/identity")"; exit"""


@pytest.mark.core
def test_each_step_of_a_job_is_one_event_before_that_of_luigi(build, some, notes):
    scripts = ["true", "false", f"{SEEN.format(2)}; {DIE}", SEEN.format(3)]
    tasks = [some(Followed, number, script) for number, script in enumerate(scripts)]
    # as by another worker
    tasks[3].prepare_run().submit()
    assert not build(*tasks, workers=4)
    seen = {number: [each for each in lines if not each.startswith("on_")] for number, lines in noted(notes).items()}
    begin = ["START", "SUBMITTED /1", "STARTED /1"]
    assert seen == {
        0: [*begin, "PROCESSING_TIME", "SUCCESS"],
        1: [*begin, "FAILURE"],
        2: [*begin, "LOST /1", "FAILURE"],
        3: ["SUBMITTED /1", "START", "ATTACHED /1", "STARTED /1", "PROCESSING_TIME", "SUCCESS"],
    }
