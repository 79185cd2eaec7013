"""A beta-VAE of measured Raman spectra: its latents, archetypes, and what they recognise.

python -m diffusevae.stages spectra latents_smoke \\
    --source data/raw/raman \\
    --out artifacts/latents_smoke/spectra
"""

from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from diffusevae.core.device import choose_device
from diffusevae.core.tensor_file import save_tensors
from diffusevae.figures.drawing import figure_style, save_figure
from diffusevae.latents.models.beta_vae import VectorVAE, save_vector_vae
from diffusevae.latents.models.threads import use_one_thread
from diffusevae.latents.page.chapter import write_chapter
from diffusevae.latents.spectra.measured_spectra import (
    FILE,
    SpectraConfig,
    drop_copies,
    fit_spectra,
    read_spectra,
    split_folds,
)
from diffusevae.latents.spectra.recognition import (
    build_archetypes,
    compare_archetypes,
    judge_fold,
    summarise_archetypes,
    summarise_hits,
)
from diffusevae.latents.spectra.spectra_chapter import SpectraFindings, write_up
from diffusevae.latents.spectra.spectra_figures import (
    draw_accuracy,
    draw_lines,
    draw_pseudo_spectra,
    draw_traversals,
)
from diffusevae.latents.spectra.spectral_lines import (
    check_lines,
    measure_lines,
    rank_latents,
    summarise_lines,
    traverse_all,
)
from diffusevae.training.stage_trainings import open_trainings

ROOT = "latent_studies"
SECTIONS = {"seed": int, "spectra": SpectraConfig}
TRAVERSED = ("Gypsum", "Calcite")
SHOWN_STEPS = 7  # of a traversal in a figure


def run(params, *, source: Path, out: Path, log) -> None:
    """Write model.safetensors, archetypes.safetensors, tables, figures and chapter.json to `out`.

    The model shown and kept is that of the first seed, trained on all spectra.
    """
    log.dataset(source / FILE, "training")
    use_one_thread()
    config, device = params.spectra, choose_device()
    spectra, copies = drop_copies(read_spectra(source))
    check_lines(spectra)
    folds = {
        seed: split_folds(spectra.labels, spectra.names, config.num_folds, seed)
        for seed in config.seeds
    }
    log.message(
        f"{len(spectra.labels)} spectra of {len(spectra.names)} minerals; {len(copies)} "
        "copies of them dropped"
    )

    with open_trainings("spectra", params, [source / FILE], device, log) as open_one:

        def train(seed: int, part: str, rows: Tensor) -> VectorVAE:
            name = f"{seed}-{part}"
            with open_one(name, {"seed": seed, "part": part}) as training:
                model, _ = fit_spectra(
                    config,
                    spectra.intensities[rows].to(device),
                    spectra.labels[rows].to(device),
                    seed,
                    training.callbacks(),
                    training.checkpointer,
                )
            return model

        everything = torch.arange(len(spectra.labels))
        models = [train(seed, "all", everything) for seed in config.seeds]
        hits, compared = [], []
        for seed in config.seeds:
            for number, (known, held_out) in enumerate(folds[seed]):
                model = train(seed, f"fold{number}", known)
                hits.append(judge_fold(model, spectra, known, held_out, config.noise_levels, seed))
                compared.append(compare_archetypes(model, spectra, known, held_out, seed))
        lines = [
            measure_lines(model, spectra, config.traversal_steps, config.line_window, params.seed)
            for model in models
        ]
        archetypes = build_archetypes(models[0], spectra)
        findings = SpectraFindings(
            spectra,
            copies,
            config.num_folds,
            summarise_hits(pd.concat(hits), params.seed),
            lines,
            summarise_lines(lines, spectra, archetypes["pseudo_spectra"], config.line_window),
            pd.concat(compared),
            params.seed,
        )
        out.mkdir(parents=True, exist_ok=True)
        pd.concat(hits).to_csv(out / "hits.csv", index=False)
        write_results(out, models[0], archetypes, findings)
    write_chapter(out, write_up(findings))
    log.summary(
        {
            f"accuracy_{row.method}_noise_{row.noise:g}": row.accuracy
            for row in findings.accuracy.itertuples()
        }
    )
    log.artifact(out)


def write_results(
    out: Path, model: VectorVAE, archetypes: dict[str, Tensor], findings: SpectraFindings
) -> None:
    """Write the model, its archetypes, the tables and the figures."""
    spectra = findings.spectra
    latents = rank_latents(model, spectra, findings.lines[0])
    save_vector_vae(out / "model.safetensors", model)
    save_tensors(
        out / "archetypes.safetensors",
        archetypes | {"shift": torch.from_numpy(spectra.shift)},
        {"minerals": spectra.names},
    )
    tables = {
        "accuracy": findings.accuracy,
        "line_latents": findings.lines[0],
        "lines": findings.line_summary,
        "latents": latents,
        "pseudo_spectra": summarise_archetypes(findings.compared, archetypes, spectra),
    }
    for name, table in tables.items():
        table.to_csv(out / f"{name}.csv", index=False, float_format="%.4g")
    with figure_style():
        for mineral in TRAVERSED:
            code = archetypes["codes"][spectra.names.index(mineral)]
            decoded = traverse_all(model, code[None], SHOWN_STEPS)[0]
            save_figure(
                draw_traversals(decoded, spectra.shift, mineral, latents),
                out / f"traversals_{mineral.lower()}.png",
            )
        save_figure(draw_lines(findings.lines[0], latents), out / "lines.png")
        save_figure(
            draw_pseudo_spectra(archetypes["pseudo_spectra"], spectra), out / "pseudo_spectra.png"
        )
        save_figure(draw_accuracy(findings.accuracy), out / "accuracy.png")
