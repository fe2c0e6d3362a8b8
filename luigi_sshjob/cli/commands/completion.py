"""`luigi-sshjob completion`: completes words in a shell, by argcomplete."""

from __future__ import annotations

import argparse

import argcomplete
from argcomplete.shell_integration import shellcode

SHELLS = ("bash", "zsh", "fish")


def run(arguments: argparse.Namespace) -> int:
    """Print the script for a shell."""
    # without bash's own files, which it would add where there is nothing to complete
    print(shellcode(["luigi-sshjob"], use_defaults=False, shell=arguments.shell))
    return 0


def complete(parser: argparse.ArgumentParser) -> None:
    """Print the possible words and exit, if this process was started by such a script."""
    argcomplete.autocomplete(parser)
