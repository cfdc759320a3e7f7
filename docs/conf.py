"""How the documentation is built: ``make docs``."""

from __future__ import annotations

import re
from typing import Any

from astronomer_remote import __version__

project = "Astronomer Remote"
copyright = "the authors of Astronomer Remote, Apache License 2.0"  # Sphinx calls it so
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns: list[str] = []
html_theme = "furo"
html_title = "Astronomer Remote"

myst_heading_anchors = 3

autodoc_default_options = {"show-inheritance": False}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True


def returned_by_the_flow(_app: Any, _what: str, name: str, *_: Any) -> tuple[str, str] | None:
    """Show what a method of the hook returns, which is documented where its flow is written."""
    signature, returns = _[-2:]
    found = re.fullmatch(r".*\bGenerator\[.*?, \S*Any, (.*)\]", returns or "")
    return (signature, found[1]) if found and ".AstronomerHook." in name else None


def setup(app: Any) -> None:
    app.connect("autodoc-process-signature", returned_by_the_flow)
