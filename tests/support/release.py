"""Copies the checkout for a package index: with absolute links, and the addresses of the repository in the metadata."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

# `text <path>`_ in README
_LINK = re.compile(r"(?<=<)(?!\w+:)([^<>\s]+)(?=>`_)")
_IMAGE = re.compile(r"(?m)(?<=^\.\. image:: )(?!\w+:)(\S+)$")


class InvalidRelease(Exception):
    """A tag, a version or a link is wrong."""


def tracked_files(root: Path) -> list[str]:
    """Return the files that git tracks, and new ones that it does not ignore, relative to the checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
    )
    return [name for name in listed.stdout.decode().split("\0") if (root / name).is_file()]


def copy_for_index(root: Path, copy: Path, repository: str) -> None:
    """Copy the checkout to a new directory, where links and metadata name `repository`, the URL of a GitHub project."""
    for name in tracked_files(root):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, copy / name)
    files = f"{repository}/blob/v{version_of(root)}"
    readme = copy / "README.rst"
    text = _LINK.sub(lambda link: f"{files}/{_existing(root, link[1])}", readme.read_text())
    raw = files.replace("/blob/", "/raw/")
    readme.write_text(_IMAGE.sub(lambda image: f"{raw}/{_existing(root, image[1])}", text))
    addresses = {
        "Source": repository,
        "Documentation": f"{files}/docs/index.rst",
        "Changelog": f"{files}/CHANGELOG.rst",
        "Issues": f"{repository}/issues",
    }
    lines = "".join(f"    {name} = {address}\n" for name, address in addresses.items())
    settings = copy / "setup.cfg"
    head = f"[metadata]\nurl = {repository}\nproject_urls =\n{lines}"
    settings.write_text(settings.read_text().replace("[metadata]\n", head, 1))


def check_tag(root: Path, tag: str) -> None:
    """Raise `InvalidRelease` unless the tag, the version and its mentions agree."""
    version = version_of(root)
    if tag != f"v{version}":
        raise InvalidRelease(f"the tag is {tag}, but luigi_sshjob.__version__ is {version}")
    if not re.search(rf"(?m)^{re.escape(version)}\b", (root / "CHANGELOG.rst").read_text()):
        raise InvalidRelease(f"CHANGELOG.rst has no section for {version}")
    if f"\nversion: {version}\n" not in (root / "CITATION.cff").read_text():
        raise InvalidRelease(f"CITATION.cff has another version than {version}")


def version_of(root: Path) -> str:
    """Return `luigi_sshjob.__version__` of a checkout."""
    found = re.search(r'(?m)^__version__ = "(.+)"$', (root / "luigi_sshjob" / "__init__.py").read_text())
    assert found
    return found[1]


def _existing(root: Path, name: str) -> str:
    if not (root / name).exists():
        raise InvalidRelease(f"README.rst links to a file that does not exist: {name}")
    return name
