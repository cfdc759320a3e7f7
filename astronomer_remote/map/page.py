"""Writes a map as one HTML page that loads nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files

from astronomer_remote.map.model import Map


def page(found: Map) -> str:
    """
    The page.

    Its script gets the map as JSON and shows text as text only. Its policy lets the browser run that script, known by
    its hash, and nothing else.
    """
    here = files("astronomer_remote.map")
    script = (here / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Within a script element, only these characters can end it or begin a comment.
    data = json.dumps(found.as_dict())
    for character in "<>&":
        data = data.replace(character, f"\\u{ord(character):04x}")
    parts = {
        "POLICY": f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        "STYLE": (here / "page.css").read_text(encoding="utf-8"),
        "SCRIPT": script,
        "DATA": data,
    }
    text = (here / "page.html").read_text(encoding="utf-8")
    pieces = text.split("%%")
    # Every second piece is the name of a part; what a part contains is not searched again.
    return "".join(parts[piece] if number % 2 else piece for number, piece in enumerate(pieces))
