"""Sliders that work without a server: every picture they can show is drawn beforehand.

One latent is moved at a time, so a few thousand small images in one PNG are enough.
"""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from markupsafe import Markup
from torch import Tensor

from diffusevae.core.png import to_data_url, write_png
from diffusevae.core.template import render
from diffusevae.latents.measures.traversals import REACH, traverse
from diffusevae.latents.models.beta_vae import VectorVAE
from diffusevae.latents.page.cards import Card

TEMPLATE = Path(__file__).with_name("sliders.html")
STEPS = 13  # from -3 to 3
STEP = 2 * REACH / (STEPS - 1)
SCRIPT = """
"use strict";
const box = document.getElementById("sliders"), sheets = box.querySelectorAll(".sheet");
function show(latent) {
  const range = latent.querySelector("input"), canvas = latent.querySelector("canvas");
  const sheet = sheets[box.querySelector("[name=start]:checked").value];
  const column = Math.round((range.value - range.min) / range.step);
  const {width, height} = canvas;
  canvas.getContext("2d").drawImage(sheet, column * width, latent.dataset.row * height,
    width, height, 0, 0, width, height);
  latent.querySelector("output").value = Number(range.value).toFixed(1).replace("-", "\\u2212");
}
async function start() {
  const chosen = sheets[box.querySelector("[name=start]:checked").value];
  await chosen.decode();
  const steps = chosen.dataset.steps.split(" ");
  for (const latent of box.querySelectorAll(".latent")) {
    latent.querySelector("input").value = steps[latent.dataset.row];
    show(latent);
  }
}
for (const latent of box.querySelectorAll(".latent"))
  latent.querySelector("input").addEventListener("input", () => show(latent));
for (const choice of box.querySelectorAll("[name=start]")) choice.addEventListener("change", start);
start();
"""
SCRIPT_SOURCE = (
    "'sha256-" + base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode("ascii") + "'"
)  # for a page's script-src


def draw_sliders(
    model: VectorVAE, cards: Sequence[Card], codes: Tensor, names: Sequence[str]
) -> Markup:
    """Return HTML to put into a page: a slider per latent, moved from each of a few codes.

    codes A x latents, with their names. The page must allow SCRIPT_SOURCE, and images from data:.
    """
    height, width = model.shape[1:]
    return Markup(
        render(
            TEMPLATE,
            starts=[
                _draw_start(model, cards, code, name)
                for code, name in zip(codes, names, strict=True)
            ],
            cards=cards,
            unused=[card for card in cards if not card.used],
            rows={card.latent: row for row, card in enumerate(cards)},
            width=width,
            height=height,
            reach=REACH,
            step=STEP,
            script=Markup(SCRIPT),
        )
    )


@torch.inference_mode()
def _draw_start(model: VectorVAE, cards: Sequence[Card], code: Tensor, name: str) -> dict:
    """Return a sheet of a row per card and a column per step, and the steps nearest to the code."""
    rows = [traverse(model, code[None], card.latent, STEPS)[0] for card in cards]
    sheet = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)  # C x rows*H x STEPS*W
    nearest = (code.clamp(-REACH, REACH) / STEP).round() * STEP
    return {
        "name": name,
        "sheet": to_data_url(write_png(sheet[None], {})),
        "thumbnail": to_data_url(write_png(model.decode(code[None]), {})),
        "steps": [f"{float(nearest[card.latent]) + 0.0:g}" for card in cards],
    }
