"""Texts of the code as Markdown shows them."""

import re


def escape(text: str) -> str:
    """Return a docstring's text with the signs that Markdown takes for its own marked as text."""
    shown = re.sub(r"(?<!`)([<>*|\[\]])", lambda found: f"\\{found[1]}", text)
    return shown.replace("\\>", "&gt;").replace("\\<", "&lt;")
