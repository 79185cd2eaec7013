"""Requests to this machine's loopback go there, whatever proxy the environment names."""

import os

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def keep_loopback_direct() -> None:
    """Add the loopback to NO_PROXY, for this process and its children; the rest stays."""
    for name in ("NO_PROXY", "no_proxy"):
        given = [part.strip() for part in os.environ.get(name, "").split(",") if part.strip()]
        missing = [address for address in LOOPBACK if address not in given and "*" not in given]
        os.environ[name] = ",".join(given + missing)
