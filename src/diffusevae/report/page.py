"""What pages have in common: how they look, and a picture in them."""

import base64
import struct
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

PALETTE = Path(__file__).with_name("palette.css").read_text(encoding="utf-8")
STYLE = Markup(PALETTE + Path(__file__).with_name("page.css").read_text(encoding="utf-8"))


@dataclass(frozen=True, eq=False)
class ShownPicture:
    """A PNG file with its texts and the section of the page it belongs to."""

    title: str
    caption: str
    section: str
    png: bytes

    @property
    def source(self) -> str:
        """The picture as a data URL."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, from the PNG's header."""
        return struct.unpack(">II", self.png[16:24])
