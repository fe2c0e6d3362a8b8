"""The rows of docs/errors.rst, and a static scan of the package for the errors it raises."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from luigi_sshjob import errors
from luigi_sshjob.errors import FileMissing, RemoteCommandFailed, SSHJobError
from luigi_sshjob.targets import commands

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "errors.rst"
PACKAGE = ROOT / "luigi_sshjob"

ERRORS = frozenset(
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, SSHJobError)
)


@dataclass(frozen=True)
class Row:
    """One row of docs/errors.rst."""

    sentence: str
    cause: str
    next_step: str
    kind: str
    """Class of the error; empty for the reason of an outcome."""
    test: str


@cache
def rows() -> list[Row]:
    """Return the rows of all tables, those of errors and those of reasons."""
    found = []
    for row in re.split(r"^   \* - ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        row = re.split(r"\n(?=\S)", row)[0]
        cells = [" ".join(cell.split()) for cell in re.split(r"^     - ", row, flags=re.MULTILINE)]
        if cells[0].startswith("``"):
            kind, _, test = cells[3].rpartition(" ") if len(cells) == 4 else ("", "", "")
            found.append(Row(cells[0].strip("`"), cells[1], cells[2], kind.strip("`"), test.strip("`()")))
    return found


@dataclass(frozen=True)
class Site:
    """A place in the code that makes an error."""

    sentence: str
    """Beginning of the message, up to the first value."""
    kind: str
    where: str


# Functions that raise an error with the sentence of another place, and where that sentence comes from.
PASSED_ON = {
    "targets/commands.py check": "a refusal of a script, see refusals()",
    "ssh/transports/login.py wait_or_raise": "the failed login that another process recorded",
    "tasks/status.py failure": "an outcome, see test_each_bad_end_has_a_row",
}

# Exceptions that never reach a user, or that an interface of Luigi, Python or argparse demands.
NOT_FOR_USERS = frozenset(
    [
        *(
            "LeaderGone",
            "LeaderClosing",
            "InvalidMessage",
            "Terminated",
            "AuthenticationFailed",
            "HostKeyRefused",
            "TimeoutExpired",
            "BrokenPipeError",
        ),
        # what goes on with another attempt
        *("Again", "OtherPrevious", "Superseded"),
        # Luigi's and Python's interfaces: the worker, and a closed stream
        *("RuntimeError", "TaskException", "UnsupportedOperation"),
        # the interface of launchers; its text becomes a reason
        *("NotImplementedError", "Unreadable"),
        # argparse reports it
        "ArgumentTypeError",
    ]
)

# Their callers translate these into an SSHJobError.
TRANSLATED = {
    ("ssh/leader/client.py", "ConnectionResetError"),
    ("config/setting.py", "ValueError"),
    ("tasks/tracking.py", "ValueError"),
    ("targets/local_copies.py", "PermissionError"),
    ("targets/local_copies.py", "_ChangedMeanwhile"),
    ("testing/host_tree.py", "FileNotFoundError"),
    ("tasks/literals.py", "NotPlain"),
    ("tasks/plain.py", "UnpicklingError"),
    ("remote/run_work.py", "SyntaxError"),
    # on the host, where it becomes a reason
    ("remote/run_work.py", "TypeError"),
    # as Python's own for a class
    ("tasks/attributes.py", "AttributeError"),
}

# Calls of the scripts that give the reason of an outcome.
_REASON = re.compile(
    r'(?:\b(?:job_)?reason=|\bdoubt=|\badd_reason |\bquery_failed |lost_unless_ended "\$1" |submission_refused "\$1" )'
    r'"((?:[^"\\]|\\.)+)"|^reason: ([^"\n]+)',
    re.MULTILINE,
)


class _Scan(ast.NodeVisitor):
    def __init__(self, path: Path):
        self.name = path.relative_to(PACKAGE).as_posix()
        self.sites: list[Site] = []
        self.foreign: list[str] = []
        self.helpers: dict[str, str] = {}
        self._functions: list[ast.FunctionDef] = []
        self._variables: list[dict[str, list[str]]] = [{}]
        self._tree = ast.parse(path.read_text())

    def run(self) -> _Scan:
        # twice, because a helper may follow its callers
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
            kinds = [name for part in (node.value.body, node.value.orelse) if (name := _name(part)) in ERRORS]
            self._variables[-1][node.targets[0].id] = kinds
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        kind = _name(node.exc.func) if isinstance(node.exc, ast.Call) else _name(node.exc)
        if re.match("_?[A-Z]", kind) and kind not in ERRORS | NOT_FOR_USERS and (self.name, kind) not in TRANSLATED:
            self.foreign.append(f"{self._where(node)} raises {kind}")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = _name(node.func)
        if name in ERRORS:
            self._record([name], node)
        elif self._variables[-1].get(name):
            self._record(self._variables[-1][name], node)
        elif name in self.helpers:
            self._record([self.helpers[name]], node)
        else:
            # tables of such calls, see login_causes.py
            self._add_pairs(node.args, node)
        self.generic_visit(node)

    def visit_Tuple(self, node: ast.Tuple) -> None:
        # tables of (class, beginning of the sentence)
        self._add_pairs(node.elts, node)
        self.generic_visit(node)

    def _add_pairs(self, parts: list[ast.expr], node: ast.AST) -> None:
        for kind, text in itertools.pairwise(parts):
            if _name(kind) in ERRORS and isinstance(text, ast.Constant) and isinstance(text.value, str):
                self._add(text.value, _name(kind), node)

    def _record(self, kinds: list[str], node: ast.Call) -> None:
        text = node.args[0] if node.args else None
        for part in (text.body, text.orelse) if isinstance(text, ast.IfExp) else (text,):
            if isinstance(part, ast.Name) and any(part.id == a.arg for f in self._functions[-1:] for a in f.args.args):
                self.helpers[self._functions[-1].name] = kinds[0]
                continue
            beginning = _fixed_beginning(part)
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


def _fixed_beginning(node: ast.AST | None) -> str:
    """Return the text up to the first value."""
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


def error_sites() -> tuple[list[Site], list[str]]:
    """Return all places that make an SSHJobError, and those that raise another exception."""
    scans = [_Scan(path).run() for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "errors.py"]
    return [site for scan in scans for site in scan.sites], [text for scan in scans for text in scan.foreign]


@dataclass(frozen=True)
class Refusal:
    """A `refuse CODE TEXT` of a script."""

    code: str
    sentence: str
    """Beginning of the text, up to the first value."""
    kind: str
    where: str


def refusals() -> list[Refusal]:
    """Return each refusal of the scripts, with the class of the error that it becomes."""
    found = []
    for path in sorted((PACKAGE / "remote").rglob("*.sh")):
        script = re.sub(r"^ *#.*", "", path.read_text(), flags=re.MULTILINE)
        # not those that pass on what `distrust` was called with
        calls = r'\b(?:refuse|distrust) (?!"\$(?:base_)?danger_code")(?:([a-z-]+) (?:\\\n *)?"([^"]+)")?'
        for code, text in re.findall(calls, script):
            # the caller makes a FileMissing of it, with a sentence of its own
            kind = commands.ERRORS.get(code, FileMissing if code == "no-such-file" else RemoteCommandFailed).__name__
            found.append(Refusal(code, re.split(r" \(|:? ?\$", text)[0].rstrip(" :("), kind, path.name))
    return found


def reasons() -> list[tuple[str, str]]:
    """Return each script and each reason it gives for the state of a job, with its variables."""
    found = []
    for path in sorted((PACKAGE / "remote").rglob("*.sh")):
        # not those that only pass a reason on
        found += [
            (path.name, text)
            for text in map("".join, _REASON.findall(path.read_text()))
            if re.search("[a-z]{3} [a-z]", re.sub(r"\$\{?\w+[^ }]*\}?", "", text))
        ]
    for node in ast.walk(ast.parse((PACKAGE / "remote" / "run_work.py").read_text())):
        if isinstance(node, ast.Call) and _name(node.func) == "_fail":
            found += [("run_work.py", text) for text in _texts(ast.Module([ast.Expr(node.args[0])], []))]
    for path in sorted((PACKAGE / "jobs" / "scheduled").glob("*.py")):
        found += [
            (path.name, text) for text in _texts(ast.parse(path.read_text())) if re.search("[a-z]{3} [a-z]", text)
        ]
    return found


def _texts(tree: ast.Module) -> Iterator[str]:
    """Yield the texts that are formatted, with {} for each value, and those that are one of two alternatives."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.IfExp):
            yield from (str(part.value) for part in (node.body, node.orelse) if isinstance(part, ast.Constant))


@cache
def all_test_names() -> list[str]:
    """Return the names of all test functions and methods."""
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    return re.findall(r"^ *def (test_\w+)\(", sources, re.MULTILINE)
