"""Configuration of Sphinx. Nothing here needs the network."""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "luigi_sshjob"
author = "luigi_sshjob maintainers"
# read, not imported: the import needs Luigi
_source = (Path(__file__).parent.parent / "luigi_sshjob" / "__init__.py").read_text(encoding="utf-8")
version = release = re.findall(r'^__version__ = "(.+)"$', _source, re.MULTILINE)[0]
extensions = ["sphinx.ext.autodoc", "from_code"]
exclude_patterns = ["_build"]
# `x` in docstrings is code
default_role = "literal"
# would change the two dashes of an option
smartquotes = False

html_theme = "furo"
html_title = f"luigi_sshjob {release}"
html_copy_source = False
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["tables.css"]
highlight_language = "none"

add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
nitpicky = True
# Not documented here: names of Luigi and Python, and private modules that appear in signatures.
nitpick_ignore_regex = [
    ("py:.*", r"(luigi|io|os|collections|contextlib|pathlib|subprocess|datetime|typing)\..*"),
    ("py:.*", r"luigi_sshjob\.((ssh|jobs|targets|tasks|worker)\.|errors\.Error$).*"),
    (
        "py:.*",
        r"((Remote)?CalledProcessError|Exception|ValueError|Any|Sequence|Mapping|Iterator|Iterable|Callable|timedelta)",
    ),
]
