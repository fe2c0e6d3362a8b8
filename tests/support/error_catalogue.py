"""docs/errors.rst against the code: where errors are made, and which test has made them."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from luigi_sshjob import errors
from luigi_sshjob.errors import SSHJobError

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "errors.rst"
PACKAGE = ROOT / "luigi_sshjob"

OURS = frozenset(
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, SSHJobError)
)


@dataclass(frozen=True)
class Row:
    """Of the page: what is written there of one sentence."""

    sentence: str
    comes: str
    next_step: str
    kind: str
    """The class; empty for the reason of an outcome."""
    test: str


@cache
def rows() -> list[Row]:
    """All of them, of both kinds of tables."""
    found = []
    for row in re.split(r"^   \* - ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        # up to what is no cell any more
        row = re.split(r"\n(?=\S)", row)[0]
        cells = [" ".join(cell.split()) for cell in re.split(r"^     - ", row, flags=re.MULTILINE)]
        if cells[0].startswith("``"):
            kind, _, test = cells[3].rpartition(" ") if len(cells) == 4 else ("", "", "")
            found.append(Row(cells[0].strip("`"), cells[1], cells[2], kind.strip("`"), test.strip("`()")))
    return found


# -- where errors are made


@dataclass(frozen=True)
class Site:
    """A place in the code that makes an error whose sentence begins so."""

    sentence: str
    kind: str
    where: str


# These make an error whose sentence another place has: by what means that is known to be in the table.
PASSED_ON = {
    "ssh/transports/login.py heed": "what another process has noted of a login that failed",
    "tasks/status.py failure": "an outcome, see test_each_bad_end_has_a_row",
}

# What is raised besides: for ourselves, or because an interface of others wants it.
NOT_FOR_USERS = frozenset(
    [
        *(
            "LeaderGone",
            "LeaderMoved",
            "_ToldToEnd",
            "AuthenticationFailed",
            "HostKeyRefused",
            "TimeoutExpired",
            "BrokenPipeError",
        ),
        # the worker's own, in Luigi's words; a stream that is closed, in Python's
        *("RuntimeError", "TaskException", "UnsupportedOperation"),
        # of words that were typed, in argparse's own
        "ArgumentTypeError",
    ]
)

# Who calls these makes an error of ours of it.
TRANSLATED = {("config/schema.py", "ValueError"), ("tasks/tracking.py", "ValueError")}

# Where scripts give reasons.
_REASON = re.compile(
    r'(?:\b(?:job_)?reason=|\bdoubt=|\balso |\banswer_missing |lost_unless_ended "\$1" |refused "\$1" )'
    r'"((?:[^"\\]|\\.)+)"'
)


class _Maker(ast.NodeVisitor):
    def __init__(self, path: Path):
        self.name = path.relative_to(PACKAGE).as_posix()
        self.sites: list[Site] = []
        self.foreign: list[str] = []
        self.helpers: dict[str, str] = {}
        self._functions: list[ast.FunctionDef] = []
        self._variables: list[dict[str, list[str]]] = [{}]
        self._tree = ast.parse(path.read_text())

    def look(self) -> _Maker:
        # twice: a helper may stand behind those who call it
        self.visit(self._tree)
        self.sites, self.foreign = [], []
        self.visit(self._tree)
        return self

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._functions.append(node)
        self._variables.append({})
        self.generic_visit(node)
        self._functions.pop()
        self._variables.pop()

    def visit_Assign(self, node: ast.Assign) -> None:
        if isinstance(node.value, ast.IfExp) and isinstance(node.targets[0], ast.Name):
            kinds = [name for part in (node.value.body, node.value.orelse) if (name := _name(part)) in OURS]
            self._variables[-1][node.targets[0].id] = kinds
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        kind = _name(node.exc.func) if isinstance(node.exc, ast.Call) else _name(node.exc)
        if re.match("_?[A-Z]", kind) and kind not in OURS | NOT_FOR_USERS and (self.name, kind) not in TRANSLATED:
            self.foreign.append(f"{self._where(node)} raises {kind}")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = _name(node.func)
        if name in OURS:
            self._made([name], node)
        elif name in self._variables[-1]:
            self._made(self._variables[-1][name], node)
        elif name in self.helpers:
            self._made([self.helpers[name]], node)
        self.generic_visit(node)

    def visit_Tuple(self, node: ast.Tuple) -> None:
        # of a table: a class, then how its sentence begins
        for kind, text in zip(node.elts, node.elts[1:], strict=False):
            if _name(kind) in OURS and isinstance(text, ast.Constant) and isinstance(text.value, str):
                self._add(text.value, _name(kind), node)
        self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> None:
        # what hosts answer, by how that begins
        if self.name == "ssh/shell/errors.py":
            for key in node.keys:
                if isinstance(key, ast.Constant):
                    self._add(key.value, "RemoteCommandFailed", node)
        self.generic_visit(node)

    def _made(self, kinds: list[str], node: ast.Call) -> None:
        text = node.args[0] if node.args else None
        for part in (text.body, text.orelse) if isinstance(text, ast.IfExp) else (text,):
            if isinstance(part, ast.Name) and any(part.id == a.arg for f in self._functions[-1:] for a in f.args.args):
                self.helpers[self._functions[-1].name] = kinds[0]
                continue
            beginning = _beginning(part)
            if isinstance(part, ast.Subscript) or self._where(node) in PASSED_ON:
                continue
            for kind in kinds:
                self._add(beginning, kind, node)

    def _add(self, beginning: str, kind: str, node: ast.AST) -> None:
        self.sites.append(Site(beginning.strip().rstrip(" :(["), kind, f"{self._where(node)}:{node.lineno}"))

    def _where(self, node: ast.AST) -> str:
        return f"{self.name} {self._functions[-1].name if self._functions else ''}".strip()


def _name(node: ast.AST | None) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _beginning(node: ast.AST | None) -> str:
    """The text up to the first thing that changes."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        text = ""
        for part in node.values:
            if not isinstance(part, ast.Constant):
                break
            text += part.value
        return text
    return ""


def made() -> tuple[list[Site], list[str]]:
    """All places, and those that raise what is not ours."""
    makers = [_Maker(path).look() for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "errors.py"]
    return [site for maker in makers for site in maker.sites], [text for maker in makers for text in maker.foreign]


def refused() -> Iterator[tuple[str, str]]:
    """What scripts refuse with, as far as it does not change: the script and the text."""
    for path in sorted((PACKAGE / "remote").rglob("*.sh")):
        text = path.read_text()
        for found in re.findall(r'\brefuse "([^"]+)"', text) + re.findall(r'\bemit "(a directory may not[^"]+)"', text):
            yield path.name, re.split(r" \(|:? ?\$", found)[0].rstrip(" :(")


def reasons() -> list[tuple[str, str]]:
    """What scripts say of why a job ended so, or stands so: the script and the text, with its variables."""
    found = []
    for path in sorted((PACKAGE / "remote").rglob("*.sh")):
        for text in _REASON.findall(path.read_text()):
            # without what is only passed on
            if re.search("[a-z]{3} [a-z]", re.sub(r"\$\{?\w+[^ }]*\}?", "", text)):
                found.append((path.name, text))
    return found


# -- which test has made them


@cache
def names_of_tests() -> list[str]:
    """The names of all test functions and methods."""
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    return re.findall(r"^ *def (test_\w+)\(", sources, re.MULTILINE)


class Witness:
    """A plugin: each test that a row names must have made that error, in the process of the tests."""

    def __init__(self) -> None:
        self._expected: Counter[str] = Counter()
        self._passed: Counter[str] = Counter()
        self._made: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
        self._current: set[tuple[str, str]] = set()
        original = SSHJobError.__init__
        witness = self

        def init(self: SSHJobError, problem: str, **where: Any) -> None:
            witness._current.add((type(self).__name__, problem))
            original(self, problem, **where)

        setattr(SSHJobError, "__init__", init)  # noqa: B010

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self._expected.update(map(_name_of, items))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self._current.clear()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            name = _name_of(report)
            self._passed[name] += report.passed
            self._made[name] |= self._current

    def missing(self, arguments: list[str]) -> list[str]:
        """What tests did not make that ran as a whole and passed."""
        whole = {name for name, count in self._passed.items() if count == self._expected[name]}
        return [
            f"docs/errors.rst says that {row.test} makes this {row.kind}, but it does not: {row.sentence}"
            for row in (rows() if not any("[" in argument for argument in arguments) else ())
            if row.test in whole
            and not any(kind == row.kind and said.startswith(row.sentence) for kind, said in self._made[row.test])
        ]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.missing(session.config.args):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        for line in self.missing(config.args):
            terminalreporter.line(line, red=True)


def _name_of(test: pytest.Item | pytest.TestReport) -> str:
    return test.nodeid.partition("[")[0].rpartition("::")[2]
