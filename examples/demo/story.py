"""The steps of the demonstration."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from command import Command, typed
from display import Display, progress, state
from interrupts import check, wait_until
from luigi_run import Jobs, LuigiRun
from place import Place

_UNDER_WAY = 20  # percent; Luigi is killed then


class PipelineFailed(Exception):
    """Luigi ended with this exit status."""

    def __init__(self, exit_status: int):
        super().__init__(exit_status)
        self.exit_status = exit_status


class Story:
    """Runs the pipeline, kills Luigi in the middle, and runs it again."""

    def __init__(self, console: Console, place: Place, options: list[str]):
        self._console = console
        self._place = place
        self._options = options
        self._step = 0

    def tell(self) -> None:
        """Do all steps. Raises `PipelineFailed`."""
        killed = self._run_and_kill()
        if killed:
            self._list_jobs()
            self._run_again()
        self._heading("The result", ["cat", str(self._place.result)])
        self._console.print()
        self._console.print(Text(self._place.result.read_text().rstrip()), soft_wrap=True)

    def _run_and_kill(self) -> bool:
        command = self._place.run(self._options)
        self._heading(self._place.pipeline.title, command)
        with LuigiRun(self._place, self._options) as run:
            status = self._watch(run, until=_is_under_way)
            if status is not None:
                self._note("Luigi has ended before it could be killed: the results exist, or the jobs were short.")
                return False
            self._heading("Kill Luigi in the middle of it", run.kill_command)
            run.kill()
        return True

    def _list_jobs(self) -> None:
        self._heading("List the jobs: they go on without Luigi", self._place.ls())
        self._console.print()
        self._console.file.flush()
        with Command(self._place, self._place.ls()) as ls:
            wait_until(ls.ended)

    def _run_again(self) -> None:
        command = self._place.run(self._options)
        self._heading("Run the same command again: Luigi attaches to these jobs", command)
        with LuigiRun(self._place, self._options) as run:
            self._watch(run)
        attached = len(run.attached())
        self._note(f"Luigi found {attached} job{'s' * (attached != 1)} on the host, and started none of them again.")

    def _watch(self, run: LuigiRun, until: Callable[[Jobs], bool] = lambda _: False) -> int | None:
        self._console.print()
        display = Display(self._console, "starting Luigi")
        with display.open():
            status = run.watch(display.show, until)
        if status:
            text = f"\nThe pipeline failed with exit status {status}. From Luigi's log:\n\n{run.problems()}"
            self._console.print(Text(text))
            raise PipelineFailed(status)
        return status

    def _heading(self, title: str, command: list[str]) -> None:
        check()
        self._step += 1
        self._console.print(Text.assemble("\n", (f"{self._step}. {title}", "bold")), soft_wrap=True)
        self._console.print(Text.assemble("   $ ", (typed(command), "cyan")), soft_wrap=True)

    def _note(self, text: str) -> None:
        self._console.print(Padding(text, (1, 0, 0, 3), expand=False))


def _is_under_way(jobs: Jobs) -> bool:
    return any(state(job) == "running" and progress(job)[0] >= _UNDER_WAY for job in jobs)
