"""Long jobs on SSH hosts as ordinary Luigi tasks."""

from luigi_sshjob.targets.context import RemoteContext
from luigi_sshjob.targets.filesystem import RemoteFileSystem
from luigi_sshjob.targets.target import RemoteTarget
from luigi_sshjob.tasks.bulk import RemoteBulkComplete
from luigi_sshjob.tasks.task import RemoteJobTask
from luigi_sshjob.worker import build

__all__ = ["RemoteBulkComplete", "RemoteContext", "RemoteFileSystem", "RemoteJobTask", "RemoteTarget", "build"]
