"""How Sphinx builds these pages: `make docs`. Nothing here needs a network, neither to build nor to read the pages."""

from __future__ import annotations

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # mathml and gallery_order; fastprop as it stands in this repository

import fastprop  # noqa: E402

project, author = "fastprop", "the fastprop developers"
project_copyright = author
release = version = fastprop.__version__

extensions = ["sphinx.ext.autosummary", "numpydoc", "myst_parser", "sphinx_gallery.gen_gallery", "mathml"]
exclude_patterns = ["_build", "templates", "gallery/*.ipynb", "gallery/*.py"]
templates_path = ["templates"]
default_role = "code"  # `name` in a docstring is code
nitpicky = True

# The reference, from docstrings. Types stand in the docstrings, in words; annotations would only repeat them.
autodoc_typehints = "none"
numpydoc_show_class_members = False
html_show_sourcelink = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

html_theme = "pydata_sphinx_theme"
html_title = f"fastprop {release}"
html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["pages.css"]
html_sidebars = {"*": [], "gallery/*": [], "api/*": ["sidebar-nav-bs"]}
html_theme_options = {
    "show_toc_level": 2,
    "header_links_before_dropdown": 7,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}

# `make docs GALLERY=0` sets plot_gallery to 0: the scripts are shown, not run.
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "ignore_pattern": r"(digits|large_sgd)\.py$",  # scripts to copy from; they have tests of their own
    "within_subsection_order": "gallery_order.key",
    "show_memory": False,
    "show_signature": False,
    "download_all_examples": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "capture_repr": (),
}


def as_text(app: object, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Docstrings are read as text: outside backticks and examples | and a trailing _ are no markup."""
    for k, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...", "..")):
            lines[k] = re.sub(r"(`[^`]*`)|\||(?<=\w)_(?!\w)", lambda found: found[1] or "\\" + found[0], line)


def setup(app: object) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", as_text, priority=600)  # after numpydoc
