"""The study of spectra: its trainings, what they give together, and the files that it leaves."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import torch
from torch import Tensor

from diffusevae.core.tensor_file import save_tensors
from diffusevae.figures.drawing import figure_style, save_figure
from diffusevae.latents.models.beta_vae import VectorVAE, save_vector_vae
from diffusevae.latents.page.chapter import write_chapter
from diffusevae.latents.spectra.measured_spectra import Spectra, fit_spectra, split_folds
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
    measure_lines,
    rank_latents,
    summarise_lines,
    traverse_all,
)
from diffusevae.training.stage_trainings import OpenTraining

TRAVERSED = ("Gypsum", "Calcite")
SHOWN_STEPS = 7  # of a traversal in a figure


class SpectraStudy:
    """The measured spectra, how they are divided for each seed, and the device to train on.

    Raises InputError where they cannot be divided so.
    """

    def __init__(
        self,
        params: SimpleNamespace,
        spectra: Spectra,
        copies: list[tuple[int, int]],
        device: torch.device,
    ) -> None:
        self.config, self.seed = params.spectra, params.seed
        self.spectra, self.copies, self.device = spectra, copies, device
        self.folds = {
            seed: split_folds(spectra.labels, spectra.names, self.config.num_folds, seed)
            for seed in self.config.seeds
        }

    def run(self, open_one: OpenTraining, out: Path) -> SpectraFindings:
        """Train on all spectra and on every fold's; write all that is found, and return it."""
        config, spectra = self.config, self.spectra
        everything = torch.arange(len(spectra.labels))
        models = [self._train(seed, "all", everything, open_one) for seed in config.seeds]
        hits, compared = [], []
        for seed in config.seeds:
            for number, (known, held_out) in enumerate(self.folds[seed]):
                model = self._train(seed, f"fold{number}", known, open_one)
                hits.append(judge_fold(model, spectra, known, held_out, config.noise_levels, seed))
                compared.append(compare_archetypes(model, spectra, known, held_out, seed))
        archetypes = build_archetypes(models[0], spectra)
        findings = self._find(models, pd.concat(hits), pd.concat(compared), archetypes)
        out.mkdir(parents=True, exist_ok=True)
        pd.concat(hits).to_csv(out / "hits.csv", index=False)
        save_study(out, models[0], archetypes, findings)
        return findings

    def _train(self, seed: int, part: str, rows: Tensor, open_one: OpenTraining) -> VectorVAE:
        with open_one(f"{seed}-{part}", {"seed": seed, "part": part}) as training:
            model, _ = fit_spectra(
                self.config,
                self.spectra.intensities[rows].to(self.device),
                self.spectra.labels[rows].to(self.device),
                seed,
                training.callbacks(),
                training.checkpointer,
            )
        return model

    def _find(
        self,
        models: Sequence[VectorVAE],
        hits: pd.DataFrame,
        compared: pd.DataFrame,
        archetypes: dict[str, Tensor],
    ) -> SpectraFindings:
        steps, window = self.config.traversal_steps, self.config.line_window
        lines = [measure_lines(model, self.spectra, steps, window, self.seed) for model in models]
        return SpectraFindings(
            self.spectra,
            self.copies,
            self.config.num_folds,
            summarise_hits(hits, self.seed),
            lines,
            summarise_lines(lines, self.spectra, archetypes["pseudo_spectra"], window),
            compared,
            self.seed,
        )


def save_study(
    out: Path, model: VectorVAE, archetypes: dict[str, Tensor], findings: SpectraFindings
) -> None:
    """Write the model, its archetypes, the tables, the figures and the chapter."""
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
        _save_figures(out, model, archetypes, findings, latents)
    write_chapter(out, write_up(findings))


def list_accuracies(findings: SpectraFindings) -> dict[str, float]:
    """Return the accuracy of each way at each level of noise, by the name of a metric."""
    return {
        f"accuracy_{row.method}_noise_{row.noise:g}": row.accuracy
        for row in findings.accuracy.itertuples()
    }


def _save_figures(
    out: Path,
    model: VectorVAE,
    archetypes: dict[str, Tensor],
    findings: SpectraFindings,
    latents: pd.DataFrame,
) -> None:
    spectra = findings.spectra
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
