"""Long jobs on SSH hosts as ordinary Luigi tasks."""

from luigi_sshjob.context import RemoteContext
from luigi_sshjob.target import RemoteFileSystem, RemoteTarget
from luigi_sshjob.task import RemoteJobTask
from luigi_sshjob.worker import build

__all__ = ["RemoteContext", "RemoteFileSystem", "RemoteJobTask", "RemoteTarget", "build"]
