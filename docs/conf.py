"""The site: made of docstrings, notebooks, tables and the documents beside the code."""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from importlib.metadata import version as version_of  # noqa: E402

from docs.extension.settings import settle_data  # noqa: E402

settle_data()

project = "cl_flow"
author = "The cl_flow authors"
release = version = version_of("cl_flow")

extensions = [
    "myst_nb",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "docs.extension.build",
]
exclude_patterns = ["extension", "made", "_build"]
suppress_warnings = ["mystnb.unknown_mime_type"]

# ---- text

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
default_role = "code"  # names in backticks, which crosslinks lead home
nb_execution_mode = "off"  # `make figures` executes, and says so where it fails
nb_ipywidgets_js = {}  # pictures stand where there is no kernel
html_math_renderer = "mathml"  # drawn by the browser, without a script

# ---- docstrings

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_preprocess_types = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
add_module_names = False

# ---- look

html_theme = "sphinx_book_theme"
html_title = "cl_flow"
html_context = {"default_mode": "auto"}
html_static_path = ["static"]
html_css_files = ["house.css"]
html_copy_source = False
html_show_sourcelink = False
copybutton_exclude = ".linenos, .gp, .go"
html_theme_options = {
    "show_toc_level": 2,
    "show_navbar_depth": 1,
    "use_download_button": False,
    "home_page_in_toc": False,
}
