"""The small parts that the page of `make explore` is made of."""

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from nicegui import ui
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.png import to_data_url, write_png

ZOOM = 8  # pixels of a downloaded picture for one of the image, each way
PNG_PREFIX = "data:image/png;base64,"


def show_number(number: float) -> str:
    """Return a slider's value as text, with a true minus sign."""
    return f"{number:+.1f}".replace("-", "−")


def heading(text: str) -> None:
    """Show a heading of a part of the page."""
    ui.html(text, sanitize=False, tag="h2")


def paragraph(text: str) -> None:
    """Show a paragraph, escaped."""
    with ui.element("p"):
        ui.label(text)


def picture(title: str, images: Tensor | None = None) -> ui.element:
    """Return an image element, of images side by side where they are known already."""
    element = ui.element("img").props(f'alt="{title}"')
    if images is not None:
        show_images(element, images)
    return element


def show_images(element: ui.element, images: Tensor) -> None:
    """Let an image element show images, B x C x H x W in [0, 1], side by side."""
    element.props["src"] = to_data_url(write_png(images, {}))
    element.update()


def button_of(action: Callable) -> ui.element:
    """Return a button to fill with something that is no text."""
    return ui.element("button").on("click", action)


def offer(images: Tensor, texts: Mapping[str, str], name: str) -> None:
    """Let the browser save images as a PNG that says what made it."""
    ui.download.content(write_png(images, texts, ZOOM), f"generated-{name}.png", "image/png")


@contextmanager
def shown_failures() -> Iterator[None]:
    """Show what is wrong with an input as one line on the page."""
    try:
        yield
    except InputError as error:
        ui.notify(str(error), type="negative")


def read_data_url(url: object) -> bytes:
    """Return the PNG that a browser sent. Raises InputError."""
    try:
        if not str(url).startswith(PNG_PREFIX):
            raise ValueError("not a PNG")
        return base64.b64decode(str(url).removeprefix(PNG_PREFIX), validate=True)
    except (ValueError, binascii.Error) as error:
        raise InputError(f"the drawing: {error}; draw it again") from error
