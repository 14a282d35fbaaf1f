"""How Sphinx builds the documentation.

`tools/check` builds it; warnings are errors. Nothing is fetched while it builds.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

_PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]

project = "snapledger"
author = "the snapledger authors"
release = version = _PROJECT["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

source_suffix = {".md": "markdown"}
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# In docstrings, as in Markdown, single backticks are code.
default_role = "literal"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

man_pages = [
    (
        "operate/snapledger",
        "snapledger",
        "look at snapshot metadata stores, and look after them",
        author,
        "1",
    )
]

html_theme = "furo"
html_title = f"snapledger {release}"
html_show_copyright = False
html_copy_source = False


def _skip_member(app: Any, what: str, name: str, member: Any, skip: bool, options: Any) -> bool:
    """Leave out what named tuples say of their fields: the class docstring says more."""
    return skip or (getattr(member, "__doc__", None) or "").startswith("Alias for field number")


def setup(app: Any) -> None:
    """Connect the hook above."""
    app.connect("autodoc-skip-member", _skip_member)
