"""A beta-VAE of measured Raman spectra: its latents, archetypes, and what they recognise.

python -m diffusevae.stages spectra latents_smoke \\
    --source data/raw/raman \\
    --out artifacts/latents_smoke/spectra
"""

from pathlib import Path

from diffusevae.core.device import choose_device
from diffusevae.core.stage_log import StageLog
from diffusevae.latents.models.threads import use_one_thread
from diffusevae.latents.spectra.measured_spectra import (
    FILE,
    SpectraConfig,
    drop_copies,
    read_spectra,
)
from diffusevae.latents.spectra.spectra_results import SpectraStudy, list_accuracies
from diffusevae.latents.spectra.spectral_lines import check_lines
from diffusevae.training.stage_trainings import open_trainings

ROOT = "latent_studies"
SECTIONS = {"seed": int, "spectra": SpectraConfig}


def run(params, *, source: Path, out: Path, log: StageLog) -> None:
    """Write model.safetensors, archetypes.safetensors, tables, figures and chapter.json to `out`.

    The model shown and kept is that of the first seed, trained on all spectra.
    """
    log.dataset(source / FILE, "training")
    use_one_thread()
    device = choose_device()
    spectra, copies = drop_copies(read_spectra(source))
    check_lines(spectra)
    study = SpectraStudy(params, spectra, copies, device)
    numbers = f"{len(spectra.labels)} spectra of {len(spectra.names)} minerals"
    log.message(f"{numbers}; {len(copies)} copies of them dropped")
    with open_trainings("spectra", params, [source / FILE], device, log) as open_one:
        findings = study.run(open_one, out)
    log.summary(list_accuracies(findings))
    log.artifact(out)
