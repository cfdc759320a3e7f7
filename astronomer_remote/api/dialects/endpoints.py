"""Endpoints that somebody wrote by hand."""

from __future__ import annotations

import re

from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.api.protocol.within import stays_below

NOT_IN_A_URL = re.compile(r"[^A-Za-z0-9_.~%:/?@!$&'()*+,;=-]")
"""Characters that a URL cannot hold unless they are quoted."""


def endpoint_below(base_url: str, prefix: str, endpoint: str) -> str:
    """
    Full path of an endpoint that somebody wrote by hand.

    :param prefix: path of the API.
    :param endpoint: below the API, or with the API's path, or with the deployment's URL as well.
    :raises InvalidSettings: for what would reach beyond the API, or is not quoted as a URL must be.
    """
    own = "/" + endpoint.strip().removeprefix(base_url).lstrip("/")
    way = own.partition("?")[0]
    if not stays_below(way) or "://" in way or NOT_IN_A_URL.search(own):
        raise InvalidSettings(
            f"endpoint={endpoint!r} leads out of the API or is not quoted; give it as /pools/my_pool, for example."
        )
    return own if own.startswith(f"{prefix}/") else prefix + own
