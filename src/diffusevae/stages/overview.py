"""Write the page that shows the latent studies side by side. Part of the latent studies.

python -m diffusevae.stages overview latents_smoke \\
    --beta_vae artifacts/latents_smoke/beta_vae --sprites artifacts/latents_smoke/sprites \\
    --spectra artifacts/latents_smoke/spectra \\
    --autoencoders artifacts/latents_smoke/autoencoders --out artifacts/latents_smoke/overview
"""

from pathlib import Path

import torch
from markupsafe import Markup

from diffusevae.core.tensor_file import load_tensors
from diffusevae.latents.models.beta_vae import load_vector_vae
from diffusevae.latents.page.cards import read_cards
from diffusevae.latents.page.sliders import draw_sliders
from diffusevae.report.overview import build_overview, read_study

ROOT = "latent_studies"
SECTIONS = {"dataset": str, "other_dataset": str, "experiment": str}
STARTS = 3  # archetypes that the sliders start from


def run(
    params, *, beta_vae: Path, sprites: Path, spectra: Path, autoencoders: Path, out: Path, log
) -> None:
    """Write overview.html to `out`."""
    studies = [
        read_study(beta_vae, "beta_vae", make_sliders(beta_vae)),
        read_study(sprites, "sprites"),
        read_study(spectra, "spectra"),
        read_study(autoencoders, "autoencoders"),
    ]
    sections = {name: getattr(params, name) for name in SECTIONS}
    out.mkdir(parents=True, exist_ok=True)
    (out / "overview.html").write_text(
        build_overview(params.key, sections, studies), encoding="utf-8"
    )
    log.artifact(out / "overview.html")


def make_sliders(beta_vae: Path) -> Markup:
    """Return sliders for the model in the beta-VAE study's folder, from a few class archetypes."""
    model = load_vector_vae(beta_vae / "model.safetensors")
    cards = read_cards(beta_vae / "cards.csv", model.config.latents)
    archetypes = load_tensors(beta_vae / "archetypes.safetensors")
    codes, labels = archetypes["class_codes"], archetypes["class_labels"]
    chosen = torch.linspace(0, len(codes) - 1, min(STARTS, len(codes))).round().long()
    names = [f"the ideal {label}" for label in labels[chosen].tolist()]
    return draw_sliders(model, cards, codes[chosen], names)
