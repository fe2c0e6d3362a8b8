"""pytest plugin that checks which test raises which error of docs/errors.rst."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from luigi_sshjob.errors import SSHJobError

from support.error_catalogue import rows


class ErrorRecorder:
    """pytest plugin: fails the run where a test does not raise the errors that docs/errors.rst names it for.

    The process that runs a test adds to its report what it has seen; with pytest-xdist the controller judges.
    """

    def __init__(self) -> None:
        self._collected: Counter[str] = Counter()
        self._selected: dict[str, int] = {}
        self._passed: Counter[str] = Counter()
        self._raised: set[tuple[str, str, str]] = set()
        self._current: set[tuple[str, str]] = set()
        original = SSHJobError.__init__
        recorder = self

        def init(self: SSHJobError, problem: str, **context: Any) -> None:
            recorder._current.add((type(self).__name__, problem))
            original(self, problem, **context)

        setattr(SSHJobError, "__init__", init)  # noqa: B010

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self._collected.update(map(_test_name, items))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self._current.clear()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
        report = yield
        if call.when == "call":
            name = _test_name(item)
            report.selected = self._collected[name]
            # not the problems, which may contain characters that pytest-xdist cannot send
            report.raised = [
                (row.kind, row.sentence)
                for row in rows()
                if row.test == name
                and any(kind == row.kind and problem.startswith(row.sentence) for kind, problem in self._current)
            ]
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            name = _test_name(report)
            self._selected[name] = report.selected
            self._passed[name] += report.passed
            self._raised.update((name, kind, sentence) for kind, sentence in report.raised)

    def missing(self, arguments: list[str]) -> list[str]:
        """Return a message for each error that its test did not raise; only for tests that passed completely."""
        whole = {name for name, selected in self._selected.items() if self._passed[name] == selected}
        return [
            f"docs/errors.rst names {row.test} for this {row.kind}, but the test did not raise it: {row.sentence}"
            for row in (rows() if not any("[" in argument for argument in arguments) else ())
            if row.test in whole and (row.test, row.kind, row.sentence) not in self._raised
        ]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.missing(session.config.args):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        for line in self.missing(config.args):
            terminalreporter.line(line, red=True)


def _test_name(test: pytest.Item | pytest.TestReport) -> str:
    return test.nodeid.partition("[")[0].rpartition("::")[2]
