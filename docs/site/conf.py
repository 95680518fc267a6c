"""Settings of the documentation site, which Sphinx reads.

Build it from the repository's folder:

    uv run sphinx-build -W -c docs/site . build/site

The sources are the repository's own Markdown pages, where they are. So a link works in both places.
"""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "maeface"
author = "The maeface authors"
project_copyright = "the maeface authors, Apache-2.0"
release = version = installed_version("maeface")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "generated",
]
root_doc = "docs/site/index"
exclude_patterns = [".venv", "build", "docs/site/root"]
include_patterns = [
    "README.md",
    "MODEL_CARD.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/**.md",
    "docs/**.rst",
    "studio/README.md",
    "studio/docs/**.md",
    "studio/benchmarks/annotations/README.md",
    "benchmarks/portraits/README.md",
]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "maeface"
html_extra_path = ["root"]
html_static_path = ["static"]
html_css_files = ["phone.css"]
html_js_files = ["keyboard.js"]
html_copy_source = False
html_show_sourcelink = False
