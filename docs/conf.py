"""How the documentation is built: ``make docs``."""

from __future__ import annotations

from astronomer_remote import __version__

project = "Astronomer Remote"
copyright = "the authors of Astronomer Remote, Apache License 2.0"  # Sphinx calls it so
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns: list[str] = []
html_theme = "furo"
html_title = "Astronomer Remote"

myst_heading_anchors = 3

autodoc_default_options = {"members": True, "show-inheritance": False}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
