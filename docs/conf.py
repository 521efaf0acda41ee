"""Sphinx's settings: `make docs` makes a site of the repository's pages and of the docstrings, with nothing from the net.

The repository is the source, so that a link leads to the same page here and where the repository is shown. What no browser of
repositories understands is put in while a page is read.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

from airflow_provider_pageconv import __version__

# Airflow is imported for its classes, and writes down its settings where there are none.
os.environ["AIRFLOW_HOME"] = str(Path(__file__).parents[1] / "build" / "airflow")

project = "airflow-provider-pageconv"
version = release = __version__
root_doc = "docs/README"
include_patterns = ["*.md", "docs/**"]
# Whole folders that nobody has to walk through; and in them pages of others.
exclude_patterns = [".*", "build", "dist", "tests", "airflow_provider_pageconv", "example_dags"]
templates_path = ["_templates"]

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 3
myst_enable_extensions = ["attrs_inline"]
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 100
toc_object_entries_show_parents = "hide"
# What is not ours lies elsewhere, and its inventory is not fetched; what is ours has to be there, but
# for the sandbox's insides.
nitpick_ignore_regex = [("py:.*", r"(?!airflow_provider_pageconv\.(?!sandbox\.)).*")]

html_theme = "furo"
html_title = f"{project} {version}"
html_show_copyright = False
html_copy_source = False
# Whoever opens the folder finds the first page.
html_additional_pages = {"index": "index.html"}

_LINK = re.compile(r"^\| \[(?P<title>[^\]]+)\]\((?P<page>[^)#]+)\)", re.MULTILINE)
_PICTURE = re.compile(r"<picture>.*?srcset=\"(?P<dark>[^\"]+)\".*?src=\"(?P<light>[^\"]+)\" alt=\"(?P<alt>[^\"]+)\".*?</picture>", re.DOTALL)  # fmt: skip


def setup(app: Sphinx) -> None:
    """Have each page adapted while it is read."""
    app.connect("source-read", adapt)


def adapt(_: Sphinx, name: str, source: list[str]) -> None:
    """Give the index its table of contents, and let pictures go with the reader's light or dark.

    :param name: of the page.
    :param source: its text, which is replaced.
    """
    if name == root_doc:
        source[0] += "".join(contents(part) for part in re.split(r"^## ", source[0], flags=re.MULTILINE)[1:])
    source[0] = _PICTURE.sub(r"![\g<alt>](\g<light>){.only-light} ![\g<alt>](\g<dark>){.only-dark}", source[0])


def contents(part: str) -> str:
    """Make the sidebar's part of what stands below a heading of the index: the pages that its table names."""
    heading, _, text = part.partition("\n")
    entries = "\n".join(f"{found['title']} <{found['page']}>" for found in _LINK.finditer(text))
    return f"\n```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{entries}\n```\n"
