"""How a wrong value, or a wrong word, is named in one line."""

import difflib
from collections.abc import Iterable

MAX_SHOWN = 80  # characters of a wrong value
MOST_FAULTS = 40  # told at once


def suggest(word: object, known: Iterable[str]) -> str:
    """Return "did you mean 'x'?" for a near miss, else the list of what is known."""
    known = sorted(known)
    near = difflib.get_close_matches(str(word), known, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def join_faults(faults: Iterable[str]) -> str:
    """Return what is wrong as one line: each fault once, the first ones of a great many."""
    listed = list(dict.fromkeys(faults))
    more = len(listed) - MOST_FAULTS
    return "; also ".join(listed[:MOST_FAULTS] + [f"{more} more"] * (more > 0))


def describe_value(value: object) -> str:
    """Return what a value of YAML is, with the value if it is short."""
    if value is None:
        return "nothing"
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    kind = "text" if isinstance(value, str) else type(value).__name__
    return f"the {kind} {shorten_value(value)}"


def shorten_value(value: object) -> str:
    """Return a value as it is written, if it is short: aliases can make a list of 10^9 leaves."""
    if isinstance(value, (str, int, float, type(None))):
        return repr(value)[:MAX_SHOWN]
    return describe_value(value) if isinstance(value, (dict, list)) else ""
