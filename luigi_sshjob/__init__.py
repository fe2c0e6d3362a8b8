"""Long jobs on SSH hosts as ordinary Luigi tasks."""

from luigi.contrib.ssh import AtomicRemoteFileWriter, RemoteCalledProcessError

from luigi_sshjob import errors
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.jobs.previous import PreviousAttempt
from luigi_sshjob.targets.context import RemoteContext
from luigi_sshjob.targets.filesystem import RemoteFileSystem
from luigi_sshjob.targets.target import RemoteTarget
from luigi_sshjob.tasks.bulk import RemoteBulkComplete
from luigi_sshjob.tasks.events import LOGIN_NEEDED, JobEvent
from luigi_sshjob.tasks.job import Job
from luigi_sshjob.tasks.python_task import RemotePythonTask
from luigi_sshjob.tasks.task import RemoteJobTask
from luigi_sshjob.worker import build

__version__ = "0.1.0"

__all__ = [
    "LOGIN_NEEDED",
    "AtomicRemoteFileWriter",
    "Job",
    "JobEvent",
    "Outcome",
    "PreviousAttempt",
    "RemoteBulkComplete",
    "RemoteCalledProcessError",
    "RemoteContext",
    "RemoteFileSystem",
    "RemoteJobTask",
    "RemotePythonTask",
    "RemoteTarget",
    "__version__",
    "build",
    "errors",
]
