"""Addresses that a person writes into a variable, looked at before anybody is asked."""

import re
from urllib.parse import urlsplit


def is_http(text: str) -> bool:
    """Return whether a text is http(s)://HOST, with a port of 1 to 65535 or without, and a path."""
    try:
        parts = urlsplit(text)
        right = parts.port != 0 and bool(parts.hostname)  # ValueError for a port that is none
    except ValueError:
        return False
    return right and parts.scheme in ("http", "https") and not re.search(r"\s", text)
