"""The pipelines that the demonstration can run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pipeline:
    """A module of examples/ with a task `Report`."""

    module: str
    title: str
    host_options: tuple[str, ...]
    """The options with its hosts, one each."""
    output: tuple[str, str]
    """Its option for local files, and where the demonstration has these."""
    result: str
    """The local report."""
    options: tuple[str, ...]
    another: tuple[str, ...]
    """Options for another run, with its files in the current directory."""

    def command(self, hosts: tuple[str, ...]) -> list[str]:
        """The command that runs it on these hosts."""
        named = [word for pair in zip(self.host_options, hosts, strict=True) for word in pair]
        return [
            "luigi",
            "--module",
            self.module,
            "Report",
            *named,
            "--local-scheduler",
            "--workers",
            "3",
            *self.options,
        ]


QUICKSTART = Pipeline(
    module="quickstart",
    title="Run a pipeline: jobs on the host count words",
    host_options=("--host",),
    output=("result", "result.txt"),
    result="result.txt",
    options=(),
    another=("--letters", "9", "--result", "long-words.txt"),
)
MIXED = Pipeline(
    module="mixed",
    title="Run a pipeline: local texts, jobs on two hosts, a local report",
    host_options=("--first", "--second"),
    output=("directory", "mixed"),
    result="mixed/report.txt",
    # long enough to kill Luigi meanwhile
    options=("--Count-pause", "10"),
    another=("--directory", "again"),
)
