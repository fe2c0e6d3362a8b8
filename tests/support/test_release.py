"""A release is what its tag says, and its README works on a package index."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support import release


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    (root / "luigi_sshjob").mkdir(parents=True)
    (root / "docs").mkdir()
    (root / "luigi_sshjob" / "__init__.py").write_text('__version__ = "1.2.0"\n')
    (root / "setup.cfg").write_text("[metadata]\nname = luigi_sshjob\n")
    (root / "docs" / "job.rst").write_text("")
    (root / "CHANGELOG.rst").write_text("Changelog\n=========\n\n1.2.0 (2026-12-01)\n------------------\n")
    (root / "CITATION.cff").write_text("cff-version: 1.2.0\nversion: 1.2.0\n")
    (root / "README.rst").write_text(
        "`How <docs/job.rst>`_ `Luigi <https://luigi.readthedocs.io>`_\n\n.. image:: docs/job.rst\n"
    )
    subprocess.run(["git", "init", "-q", root], check=True)
    return root


def test_a_release_needs_a_tag_a_changelog_and_a_citation_of_its_version(checkout):
    release.check_tag(checkout, "v1.2.0")
    with pytest.raises(release.InvalidRelease, match=r"the tag is v1\.3\.0"):
        release.check_tag(checkout, "v1.3.0")
    for name, said in (("CHANGELOG.rst", "no section"), ("CITATION.cff", "another version")):
        before = (checkout / name).read_text()
        (checkout / name).write_text(before.replace("1.2.0", "1.1.0"))
        with pytest.raises(release.InvalidRelease, match=said):
            release.check_tag(checkout, "v1.2.0")
        (checkout / name).write_text(before)


def test_the_copy_for_an_index_has_absolute_links_to_existing_files(checkout, tmp_path):
    release.copy_for_index(checkout, tmp_path / "copy", "https://example.invalid/project")
    assert (tmp_path / "copy" / "README.rst").read_text() == (
        "`How <https://example.invalid/project/blob/v1.2.0/docs/job.rst>`_ `Luigi <https://luigi.readthedocs.io>`_\n\n"
        ".. image:: https://example.invalid/project/raw/v1.2.0/docs/job.rst\n"
    )
    assert "    Issues = https://example.invalid/project/issues\n" in (tmp_path / "copy" / "setup.cfg").read_text()
    (checkout / "README.rst").write_text("`How <docs/jobs.rst>`_\n")
    with pytest.raises(release.InvalidRelease, match=r"does not exist: docs/jobs\.rst"):
        release.copy_for_index(checkout, tmp_path / "other", "https://example.invalid/project")
