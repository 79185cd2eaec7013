"""By which fonts of this machine a text is written, where that of all figures lacks its characters.

For pictures that are looked at here only: what a stage draws has DejaVu, the same on every machine.
"""

import logging
from collections.abc import Iterable

from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

from diffusevae.figures.drawing import DPI, STYLE

OWN = str(STYLE["font.family"])
BOXES = "Last Resort"  # matplotlib's font of boxes, which has every character
WEIGHT, SIZE = "bold", 12.5  # of the lines above images


def find_families(texts: Iterable[str]) -> tuple[list[str], set[str]]:
    """Return font families, DejaVu first, by which texts are written in bold, and the characters
    that no font here has.
    """
    families, missing = [OWN], set("".join(texts)) - _characters_of(OWN)
    # It says which families have no bold: they are written as they are.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    others = {font.name for font in fontManager.ttflist if not font.name.startswith(BOXES)}
    for name in sorted(others, key=lambda name: ("Sans" not in name, name)):
        if not missing:
            break
        if had := missing & _characters_of(name):
            families.append(name)
            missing -= had
    return families, missing


def _characters_of(family: str) -> set[str]:
    """Return what a family has outlines of in bold; nothing for one that cannot be used."""
    try:
        font = get_font(findfont(FontProperties(family=[family], weight=WEIGHT)))
        font.set_size(SIZE, DPI)  # which fonts made of pixels refuse
    except (OSError, RuntimeError):
        return set()
    return set(map(chr, font.get_charmap()))
