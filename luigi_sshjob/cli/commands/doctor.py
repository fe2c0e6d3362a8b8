"""`luigi-sshjob doctor`: what stands in the way of jobs on a host, each with its remedy."""

from __future__ import annotations

import argparse
import sys

from rich.console import Console

from luigi_sshjob.doctor.report import Report, as_json, show
from luigi_sshjob.doctor.runner import examine
from luigi_sshjob.targets.context import RemoteContext

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """Examines `arguments.host`, and prints what was found: for scripts where `arguments.json` says so.

    Exit status: 0 all is well, 1 something does not work, 3 no answer. Raises `ConfigurationError` for a host that is
    none, or a setting that cannot be used.
    """
    options = {name: getattr(arguments, name) for name in ("key_file", "no_host_key_check", "sshpass", "transport")}
    report = _examined(RemoteContext(arguments.host, **options), arguments.base_dir)
    if arguments.json:
        print(as_json(report))
    else:
        show(report, sys.stdout)
    return report.exit_status


def _examined(context: RemoteContext, base_dir: str | None) -> Report:
    console = Console(stderr=True)
    if not console.is_terminal:
        return examine(context, base_dir)
    with console.status("beginning") as status:
        return examine(context, base_dir, said=status.update)
