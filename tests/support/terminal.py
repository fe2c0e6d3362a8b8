"""A shell in which a test types what a page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import luigi_sshjob

from support import processes

# As pip puts them into a virtual environment.
_PROGRAMS = {
    "luigi": "from luigi.cmdline import luigi_run as main; sys.exit(main())",
    "luigid": "from luigi.cmdline import luigid as main; sys.exit(main())",
    "luigi-sshjob": "from luigi_sshjob.cli.main import main; sys.exit(main())",
    "python": "import runpy; sys.argv.pop(0); runpy.run_path(sys.argv[0])",
}
_PACKAGE = Path(luigi_sshjob.__file__).parent.parent
_DONE = "the command has ended with"


class Terminal:
    """A bash in `folder`, whose ssh has the configuration of the tests. `options` are arguments for a program by its
    name, before those that are typed."""

    def __init__(self, folder: Path, ssh_config: Path, options: dict[str, str]):
        self.transcript = folder / "transcript"
        programs = folder / "bin"
        programs.mkdir()
        for name, start in _PROGRAMS.items():
            # PYTHONPATH is the page's
            code = f"import sys; sys.path.append('{_PACKAGE}'); {start}"
            self._program(programs / name, f'"{sys.executable}" -c "{code}" {options.get(name, "")}')
        ssh = subprocess.run(["sh", "-c", "command -v ssh"], capture_output=True, text=True, check=True).stdout.strip()
        # this package says -F itself: the last one counts
        self._program(programs / "ssh", f'"{ssh}" -F "{ssh_config}"')
        # not its standard input, which what is typed would read
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
    def said(self) -> str:
        """All that was printed."""
        return self.transcript.read_text(errors="replace")

    def type(self, command: str) -> tuple[int, str]:
        """The command's exit status and what was printed meanwhile."""
        before = self.transcript.stat().st_size
        os.write(self._keyboard, f"{command}\nprintf '\\n%s %s.\\n' '{_DONE}' $?\n".encode())

        def end() -> re.Match[str] | None:
            since = self.transcript.read_bytes()[before:].decode(errors="replace")
            return re.search(rf"(.*)^{_DONE} (\d+)\.$", since, re.DOTALL | re.MULTILINE)

        processes.wait_until(lambda: end() is not None, f"the end of {command}", seconds=60)
        return int(end()[2]), end()[1]

    def close(self) -> None:
        """Ends all that was started."""
        processes.kill([member.pid for member in processes.family(self._shell.pid)])
        os.close(self._keyboard)
        self._shell.wait()
