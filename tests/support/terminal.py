"""A shell in which a test types the commands of a page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import luigi_sshjob

from support import processes

# As pip installs them.
_PROGRAMS = {
    "luigi": "from luigi.cmdline import luigi_run as main; sys.exit(main())",
    "luigid": "from luigi.cmdline import luigid as main; sys.exit(main())",
    "luigi-sshjob": "from luigi_sshjob.cli.main import main; sys.exit(main())",
    "python": "import runpy; sys.argv.pop(0); runpy.run_path(sys.argv[0])",
}
_PACKAGE = Path(luigi_sshjob.__file__).parent.parent
_DONE = "exit status of the command:"


class Terminal:
    """A bash in `folder` whose ssh uses the configuration of the tests.

    `options` are additional arguments by program name.
    """

    def __init__(self, folder: Path, ssh_config: Path, options: dict[str, str]):
        self.transcript = folder / "transcript"
        programs = folder / "bin"
        programs.mkdir()
        for name, start in _PROGRAMS.items():
            # the page may set PYTHONPATH
            code = f"import sys; sys.path.append('{_PACKAGE}'); {start}"
            self._program(programs / name, f'"{sys.executable}" -c "{code}" {options.get(name, "")}')
        ssh = subprocess.run(["sh", "-c", "command -v ssh"], capture_output=True, text=True, check=True).stdout.strip()
        # this package passes -F, too; the last one counts
        self._program(programs / "ssh", f'"{ssh}" -F "{ssh_config}"')
        # not the standard input, which the typed commands would read
        commands, self._keyboard = os.pipe()
        with self.transcript.open("wb") as out:
            self._shell = subprocess.Popen(
                ["bash", "--norc", "--noprofile", f"/dev/fd/{commands}"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=[commands],
                cwd=folder,
                env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
                start_new_session=True,
            )
        os.close(commands)

    @staticmethod
    def _program(path: Path, words: str) -> None:
        path.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        path.chmod(0o755)

    @property
    def text(self) -> str:
        """The complete output so far."""
        return self.transcript.read_text(errors="replace")

    def type(self, command: str) -> tuple[int, str]:
        """Run a command; return its exit status and output."""
        before = self.transcript.stat().st_size
        os.write(self._keyboard, f"{command}\nprintf '\\n%s %s.\\n' '{_DONE}' $?\n".encode())

        def end() -> re.Match[str] | None:
            since = self.transcript.read_bytes()[before:].decode(errors="replace")
            return re.search(rf"(.*)^{_DONE} (\d+)\.$", since, re.DOTALL | re.MULTILINE)

        processes.wait_until(lambda: end() is not None, f"the end of {command}", seconds=60)
        return int(end()[2]), end()[1]

    def close(self) -> None:
        """Kill the shell and all its processes."""
        processes.kill([member.pid for member in processes.family(self._shell.pid)])
        os.close(self._keyboard)
        self._shell.wait()
