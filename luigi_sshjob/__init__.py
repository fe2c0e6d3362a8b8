"""Long jobs on SSH hosts as ordinary Luigi tasks."""

from luigi_sshjob.bulk import RemoteBulkComplete
from luigi_sshjob.context import RemoteContext
from luigi_sshjob.filesystem import RemoteFileSystem
from luigi_sshjob.target import RemoteTarget
from luigi_sshjob.task import RemoteJobTask
from luigi_sshjob.worker import build

__all__ = ["RemoteBulkComplete", "RemoteContext", "RemoteFileSystem", "RemoteJobTask", "RemoteTarget", "build"]
