"""Images as PNG files in memory: to put into a page, or to hand to a person."""

import base64
import io
from collections.abc import Mapping

import torch
from torch import Tensor

# What a PNG of generated images says of itself, beside the model and the seed.
GENERATED = {
    "Title": "Generated image",
    "Source": "generated image: made by a model, not drawn or photographed",
}


def write_png(images: Tensor, texts: Mapping[str, str], zoom: int = 1) -> bytes:
    """Return images (B x C x H x W in [0, 1]) side by side as one PNG that carries texts (tEXt).

    Each of their pixels becomes zoom x zoom pixels.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    strip = torch.cat(list(images), dim=2)  # C x H x B*W
    pixels = (strip.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    pixels = pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)
    info = PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(
        file, "PNG", pnginfo=info
    )
    return file.getvalue()


def to_data_url(png: bytes) -> str:
    """Return a PNG as the address of an image in a page."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
