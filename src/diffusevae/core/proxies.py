"""Requests to this machine's loopback go there, whatever proxy the environment names."""

import os

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def keep_loopback_direct() -> None:
    """Add the loopback to NO_PROXY, for this process and its children; the rest stays.

    Some libraries read it in small letters first, others in capitals: both get what either has.
    """
    given = [
        part.strip()
        for name in ("NO_PROXY", "no_proxy")
        for part in os.environ.get(name, "").split(",")
        if part.strip()
    ]
    wanted = ",".join(dict.fromkeys(given if "*" in given else [*given, *LOOPBACK]))
    os.environ |= {"NO_PROXY": wanted, "no_proxy": wanted}
