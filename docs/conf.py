"""Sphinx's settings. Nothing here reaches the network."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "luigi_sshjob"
author = "the authors of luigi_sshjob"
extensions = ["sphinx.ext.autodoc", "from_code"]
exclude_patterns = ["_build"]
# in docstrings `x` is code
default_role = "literal"
# two dashes begin an option
smartquotes = False

html_theme = "furo"
html_title = "luigi_sshjob"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["tables.css"]
highlight_language = "none"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
nitpicky = True
# What is documented elsewhere: Luigi's and Python's own, and the insides of this package that a signature names.
nitpick_ignore_regex = [
    ("py:.*", r"(luigi|io|collections|contextlib|subprocess|datetime|typing)\..*"),
    ("py:.*", r"luigi_sshjob\.(ssh|control|monitor|streams|writer|progress|job\.JobRef|job\.State|errors\.Error$).*"),
    ("py:.*", r"((Remote)?CalledProcessError|Exception|ValueError|Any|Sequence|Iterator|Iterable|Callable)"),
]
