"""docs/structure.rst, docs/api.rst and the project files agree with the code."""

from __future__ import annotations

import re

import matrix

import luigi_sshjob
import luigi_sshjob.testing

from support.doc_examples import ROOT, text
from support.images import MACHINES

PACKAGE = ROOT / "luigi_sshjob"


def test_the_structure_page_lists_each_package_and_module():
    listed = re.findall(r"^   \* - ``(\S+)``$", text("structure.rst"), re.MULTILINE)
    modules = {path for pattern in ("*.py", "*.sh") for path in PACKAGE.rglob(pattern) if path.name != "__init__.py"}
    packages = {path.parent for path in modules} - {PACKAGE}
    names = {str(path.relative_to(PACKAGE)) for path in modules}
    names |= {f"{path.relative_to(PACKAGE)}/" for path in packages}
    assert sorted(listed) == sorted(names)


def test_the_api_page_documents_each_public_name():
    directives = re.findall(r"^\.\. auto\w+:: luigi_sshjob\.(?:\w+\.)*(\w+)", text("api.rst"), re.MULTILINE)
    names = {*luigi_sshjob.__all__, *luigi_sshjob.testing.__all__}
    assert sorted(directives) == sorted(names - {"__version__"})


def test_all_files_have_the_same_version():
    assert f"\nversion: {luigi_sshjob.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n{luigi_sshjob.__version__}\n" in (ROOT / "CHANGELOG.rst").read_text()


def test_ci_runs_each_cell_of_the_matrix():
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    lists = {name: re.findall(r"[\w.]+", values) for name, values in re.findall(r"^ +(\w+): \[(.+)\]$", workflow, re.M)}
    assert lists["python"] == list(matrix.PYTHONS)
    assert set(lists["luigi"]) == set(matrix.LUIGIS) - {"luigimain"}
    assert set(lists["host"]) == set(MACHINES) - {"debian12", "clean"}


def test_actions_are_pinned_by_commit():
    for workflow in (ROOT / ".github" / "workflows").glob("*.yml"):
        for action in re.findall(r"uses: (.+)", workflow.read_text()):
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action
