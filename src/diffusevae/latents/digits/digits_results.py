"""The beta-VAEs and autoencoders of digits: trained, judged, and the files that they leave."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from diffusevae.core.stage_log import StageLog
from diffusevae.core.tensor_file import save_tensors
from diffusevae.data.dataset import Split
from diffusevae.figures.drawing import figure_style, save_figure
from diffusevae.latents.digits import archetypes, digits_study, rankings
from diffusevae.latents.digits.archetypes import Archetypes
from diffusevae.latents.digits.digits_chapter import describe
from diffusevae.latents.digits.digits_figures import draw_all
from diffusevae.latents.digits.digits_study import BetaVAEConfig, Findings, Judges
from diffusevae.latents.models.beta_vae import (
    VectorVAE,
    encode_images,
    fit_vector_vae,
    save_vector_vae,
)
from diffusevae.latents.models.deterministic import fit_autoencoder
from diffusevae.latents.page.chapter import name_metrics, write_chapter
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.loop import Callbacks
from diffusevae.training.stage_trainings import OpenTraining

KINDS = ("beta_vae", "autoencoder")
Trained = dict[str, list[tuple[Any, Findings]]]  # by kind: of each seed a model and its findings
Judged = tuple[VectorVAE, Archetypes, Archetypes]  # with the archetypes of classes and of clusters


def train_kinds(
    config: BetaVAEConfig, train: Split, validation: Split, judges: Judges, open_one: OpenTraining
) -> Trained:
    """Return the models of both kinds, each with what was found of it."""

    def train_one(kind: str, seed: int) -> tuple[Any, Findings]:
        with open_one(f"{kind}-{seed}", {"kind": kind, "seed": seed}) as training:
            data = train.images, validation.images, config.epochs, seed
            hold: tuple[Callbacks[Any], Checkpointer]
            hold = training.callbacks(), training.checkpointer
            model: Any
            if kind == "beta_vae":
                model, _ = fit_vector_vae(config.model, config.optimiser, *data, *hold)
                found = digits_study.study_beta_vae(model, judges, config, seed)
            else:
                model = fit_autoencoder(config.autoencoder, config.optimiser, *data, *hold)
                found = digits_study.study_autoencoder(model, judges, config, seed)
            training.log.summary(name_metrics(found.numbers))
        return model, found

    return {kind: [train_one(kind, seed) for seed in config.seeds] for kind in KINDS}


def save_digits(
    out: Path, params: SimpleNamespace, models: Trained, train: Split, judges: Judges, log: StageLog
) -> None:
    """Write the first seed's model, its cards and archetypes, the tables, pictures and chapter."""
    config = params.beta_vae
    findings = {kind: [found for _, found in pairs] for kind, pairs in models.items()}
    judged = _find_archetypes(config, [model for model, _ in models["beta_vae"]], train)
    right = _recognise(config, judged, judges, params.seed, log)
    tables = _tabulate(config, findings, right, params.seed)
    out.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_csv(out / name, index=False)
    model, of_class, of_cluster = judged[0]
    save_vector_vae(out / "model.safetensors", model)
    kept = {
        f"{kind}_{part}": getattr(one, part)
        for kind, one in (("class", of_class), ("cluster", of_cluster))
        for part in ("codes", "images", "labels")
    }
    save_tensors(out / "archetypes.safetensors", kept)
    with figure_style():
        for name, figure in draw_all(
            model,
            models["autoencoder"][0][0],
            findings,
            tables["ranking.csv"],
            tables["recognition.csv"],
            (of_class, of_cluster),
            judges.images,
            judges.split.labels,
        ).items():
            save_figure(figure, out / name)
    chapter = describe(config, tables, right, params.seed)
    write_chapter(out, chapter)
    log.summary(name_metrics({one.name: one.value for one in chapter.headlines}))


def _find_archetypes(
    config: BetaVAEConfig, models: Sequence[VectorVAE], train: Split
) -> list[Judged]:
    mus = [encode_images(model, train.images)[0] for model in models]
    return [
        (
            model,
            archetypes.find_class_archetypes(model, mu, train.labels),
            archetypes.find_cluster_archetypes(model, mu, train.labels, config.num_clusters, seed),
        )
        for model, mu, seed in zip(models, mus, config.seeds, strict=True)
    ]


def _recognise(
    config: BetaVAEConfig, judged: Sequence[Judged], judges: Judges, seed: int, log: StageLog
) -> dict[float, list[dict[str, np.ndarray]]]:
    """Return whether each noisy image is recognised, by the level of noise."""
    right = {}
    for level in config.noise_levels:
        log.message(f"recognising images with noise of {level:g}")
        right[level] = archetypes.recognise_noisy(
            judged, judges.classifier, judges.images, judges.split.labels, level, seed
        )
    return right


def _tabulate(
    config: BetaVAEConfig,
    findings: Mapping[str, Sequence[Findings]],
    right: Mapping[float, list[dict[str, np.ndarray]]],
    seed: int,
) -> dict[str, pd.DataFrame]:
    """Return the tables by their file names."""
    ranking = rankings.rank_latents(dict(zip(config.seeds, findings["beta_vae"], strict=True)))
    return {
        "cards.csv": findings["beta_vae"][0].cards,
        "ranking.csv": ranking,
        "agreement.csv": rankings.measure_agreement(ranking, seed),
        "comparison.csv": digits_study.compare(findings["beta_vae"], findings["autoencoder"]),
        "recognition.csv": archetypes.summarise_recognition(right, seed),
    }
