"""Proxies of the environment, which must not be used to reach this machine itself."""

from __future__ import annotations

import os
from collections.abc import Mapping

NAMES = ("127.0.0.1", "localhost", "::1")


def without_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that exempt this machine from the proxies named in `environment`, besides what it exempts.

    Both spellings, since curl and Python's ``urllib`` read the lower case first, and some programs only one of them.
    """
    given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    names = [name.strip() for name in given.split(",") if name.strip()]
    # An asterisk exempts everything, but only where it stands alone.
    value = "*" if "*" in names else ",".join(dict.fromkeys([*names, *NAMES]))
    return {"no_proxy": value, "NO_PROXY": value}


def bypass_proxy() -> None:
    """Exempt this machine from the proxies of this process and its children."""
    os.environ.update(without_proxy(os.environ))
