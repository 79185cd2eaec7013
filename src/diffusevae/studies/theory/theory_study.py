"""All theory figures of an experiment: measured one after the other, and the files they leave."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
from matplotlib.figure import Figure

from diffusevae.core.stage_log import StageLog
from diffusevae.data.dataset import Split, to_unit
from diffusevae.figures.drawing import figure_style, save_figure
from diffusevae.figures.image_figures import choose_images
from diffusevae.models.classifier import Classifier
from diffusevae.models.vae import reconstruct_all
from diffusevae.sampling.generation import Models
from diffusevae.studies.theory import theory_figures as drawn
from diffusevae.studies.theory.detail import measure_detail, pick_losses
from diffusevae.studies.theory.early import VAE, compare_early, find_early, make_all
from diffusevae.studies.theory.entropy import bound_entropies
from diffusevae.studies.theory.epochs import compare_epochs, read_drawn
from diffusevae.studies.theory.loss_terms import compare_losses
from diffusevae.studies.theory.toy import run_toy
from diffusevae.training.objectives import SOME, principal_variances
from diffusevae.training.stage_trainings import OpenTraining

COLUMNS = 10


@dataclass(eq=False)
class Theory:
    """What is measured so far, by the name of its part: tables, and figures.

    Each part is drawn within `figure_style()`. params has the sections that the stage reads; splits
    are train, validation and test.
    """

    params: SimpleNamespace
    models: Models
    splits: Mapping[str, Split]
    log: StageLog
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)

    def bound_entropies(self) -> None:
        """Look at the entropy of each step (T8)."""
        models, config = self.models, self.params.theory
        train = to_unit(self.splits["train"].images[:SOME])
        variances = principal_variances(models.ddpm.to_diffusion_range(train))
        images = to_unit(self.splits["test"].images[: config.num_images]).to(models.device)
        known = {
            "ddpm": (models.ddpm, None),
            "diffusevae": (models.diffusevae, reconstruct_all(models.vae, images)),
        }
        table = bound_entropies(
            known, images, variances, config, self.params.seed, self.log.message
        )
        self.tables["entropy"] = table
        self.figures["entropy"] = drawn.draw_entropies(table)

    def follow_points(self) -> None:
        """Look at the process in the plane (T13)."""
        process = self.models.ddpm.config
        mixture, forward, back, table = run_toy(process, self.params.theory, self.params.seed)
        self.tables["toy"] = table
        self.figures["toy_moments"] = drawn.draw_moments(mixture, forward, back["ddpm"])
        self.figures["toy_paths"] = drawn.draw_paths(mixture, forward, back)

    def compare_losses(self, open_one: OpenTraining) -> None:
        """Look at what each term of the VAE's loss does (V10)."""
        params = self.params
        table, codes = compare_losses(
            params.vae,
            params.vae_optimiser,
            params.theory,
            self.splits,
            params.seed,
            self.models.device,
            open_one,
            self.log.message,
        )
        self.tables["codes"] = table
        self.figures["codes"] = drawn.draw_codes(table, codes)

    def compare_early(self, train_diffusevae: Path, classifier: Classifier) -> None:
        """Look at DiffuseVAE early in training (M10), and at lost detail (M11)."""
        params, config, say = self.params, self.params.theory, self.log.message
        test = self.splits["test"]
        images, labels = (each[: config.num_images] for each in (test.images, test.labels))
        real, resamples = to_unit(images), config.num_resamples
        weights = find_early(train_diffusevae)
        made = make_all(self.models, weights, params.sampler, images, params.seed)
        table = compare_early(made, real, classifier, params.seed, resamples, say)
        self.tables["early"] = table
        shown = choose_images(labels, COLUMNS)
        self.figures["early"] = drawn.draw_early(table, made, real, shown)
        x_hat, refined = made[VAE].refined, list(made.values())[-1].refined
        frequency = config.detail_frequency
        self.tables["detail"] = measure_detail(
            real, x_hat, refined, frequency, params.seed, resamples, say
        )
        picked = pick_losses(real, x_hat, frequency, COLUMNS)
        three = {"real": real, "vae": x_hat, "diffusevae": refined}
        lost = {name: each[picked] for name, each in three.items()}
        self.figures["detail"] = drawn.draw_detail(lost, frequency)

    def compare_epochs(self, train_vae: Path, classifier: Classifier) -> None:
        """Look at the VAE's new images by epoch (V9), where training kept some."""
        drawn = read_drawn(train_vae)
        if drawn:
            real = to_unit(self.splits["test"].images[: self.params.theory.num_images])
            self.tables["epochs"] = compare_epochs(drawn, real, classifier, self.log.message)

    def save(self, out: Path) -> None:
        """Write each table and figure by its name."""
        out.mkdir(parents=True, exist_ok=True)
        for name, table in self.tables.items():
            table.to_csv(out / f"{name}.csv", index=False)
        with figure_style():
            for name, figure in self.figures.items():
                save_figure(figure, out / f"{name}.png")
