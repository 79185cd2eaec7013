"""Write the page that shows the latent studies side by side. Part of the latent studies.

python -m diffusevae.stages overview latents_smoke \\
    --beta_vae artifacts/latents_smoke/beta_vae --sprites artifacts/latents_smoke/sprites \\
    --spectra artifacts/latents_smoke/spectra \\
    --autoencoders artifacts/latents_smoke/autoencoders --out artifacts/latents_smoke/overview
"""

from pathlib import Path

from diffusevae.core.stage_log import StageLog
from diffusevae.report.overview import build_overview, make_sliders, read_study

ROOT = "latent_studies"
SECTIONS = {"dataset": str, "other_dataset": str, "experiment": str}


def run(
    params,
    *,
    beta_vae: Path,
    sprites: Path,
    spectra: Path,
    autoencoders: Path,
    out: Path,
    log: StageLog,
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
