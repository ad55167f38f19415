"""How Sphinx builds the documentation: `make docs`, into build/docs; see docs/extensions."""

import importlib.metadata
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "ltm_pyro"
author = "The authors of ltm_pyro"
copyright = "the authors of ltm_pyro, Apache-2.0"
version = release = importlib.metadata.version("ltm-pyro")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "docstrings",
    "mathml",
    "parts",
    "tutorials",
]
exclude_patterns = ["extensions", "pictures", "conf.py"]

ELSEWHERE = (
    *("abc", "annotated_types", "arviz_base", "collections", "contextlib", "functools"),
    *("matplotlib", "numpy", "pandas", "pathlib", "pyro", "tokenizers", "torch", "types"),
    *("typing", "xarray"),
)
"""Libraries whose names are no links unless LTM_DOCS_LINKS=1."""

html_theme = "furo"
html_title = f"ltm_pyro {release}"
html_theme_options = {"navigation_with_keys": True}
html_static_path = ["static"]
html_css_files = ["ltm.css"]

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

# Notebooks are run where they changed since the last build, and kept in build/notebooks.
nb_execution_mode = os.environ.get("LTM_DOCS_NOTEBOOKS", "cache")  # or off
nb_execution_cache_path = str(Path(__file__).parent.parent / "build" / "notebooks")
nb_execution_in_temp = True
nb_execution_timeout = 1200
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = "remove"  # progress bars
nb_custom_formats = {".py": "tutorials.notebook"}

autodoc_member_order = "groupwise"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
napoleon_use_rtype = False

# Warned of are names of the package in signatures and links of pages that lead nowhere. Not warned
# of: backticks in docstrings, which mostly hold arguments and formulas; names of other libraries,
# for a build without network; names in quotes, and types of type variables.
nitpicky = True
nitpick_ignore_regex = [
    ("py:obj", r".*"),
    ("py:(class|exc|func)", rf"({'|'.join(ELSEWHERE)})(\..*)?"),
    ("py:class", r"Trainer|DataTree|Shape|Draws|.*\.Shape|.*\.Draws|.*\._\w+"),
    ("py:class", r"ltm_pyro\..*\.[A-Z]"),
    # What options of a command are called, and how they are read.
    ("py:class", r"JSON|RUN|FOLDER|UseAppendAction|tyro\..*"),
    ("py:class", r"ltm_pyro\.runs\.(scored\.Scored|trainer\.Trainer)"),
]

# The build needs no network. With LTM_DOCS_LINKS=1 names of these libraries are links.
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", None),
    "numpy": ("https://numpy.org/doc/stable", None),
    "pandas": ("https://pandas.pydata.org/docs", None),
    "torch": ("https://docs.pytorch.org/docs/stable", None),
    "pyro": ("https://docs.pyro.ai/en/stable", None),
    "arviz": ("https://python.arviz.org/en/stable", None),
    "xarray": ("https://docs.xarray.dev/en/stable", None),
    "matplotlib": ("https://matplotlib.org/stable", None),
}
if os.environ.get("LTM_DOCS_LINKS", "0") != "1":
    intersphinx_mapping = {}
