"""Study beta-VAEs of digits: what their latents do, and what follows. Part of the latent studies.

python -m diffusevae.stages beta_vae latents_smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --test data/prepared/mnist_tiny/test.safetensors \\
    --classifier data/train_classifier/mnist_tiny/model.safetensors \\
    --out artifacts/latents_smoke/beta_vae
"""

from pathlib import Path
from typing import Any

import torch

from diffusevae.core.device import choose_device
from diffusevae.core.tensor_file import save_tensors
from diffusevae.data.dataset import Split, load_split
from diffusevae.figures.drawing import figure_style, save_figure
from diffusevae.latents.digits import archetypes, digits_study, rankings
from diffusevae.latents.digits.digits_chapter import describe
from diffusevae.latents.digits.digits_figures import draw_all
from diffusevae.latents.digits.digits_study import BetaVAEConfig, Judges
from diffusevae.latents.models.beta_vae import encode_images, fit_vector_vae, save_vector_vae
from diffusevae.latents.models.deterministic import fit_autoencoder
from diffusevae.latents.page import chapter
from diffusevae.models.classifier import load_classifier
from diffusevae.training.loop import Callbacks
from diffusevae.training.stage_trainings import open_trainings

ROOT = "latent_studies"
SECTIONS = {"seed": int, "beta_vae": BetaVAEConfig}


def run(
    params, *, train: Path, validation: Path, test: Path, classifier: Path, out: Path, log
) -> None:
    """Write the first seed's model, its cards and archetypes, the tables and the pictures."""
    choose_device()  # these models are small: the CPU trains and judges them
    log.dataset(train, "training")
    config = params.beta_vae
    split, held_out, unseen = (load_split(path) for path in (train, validation, test))
    count = config.num_test_images
    unseen = Split(unseen.images[:count], unseen.labels[:count], unseen.indices[:count])
    judges = Judges.of(unseen, load_classifier(classifier))

    with open_trainings(
        "beta_vae", params, [train, validation], torch.device("cpu"), log
    ) as open_one:

        def train_one(kind: str, seed: int) -> tuple[Any, digits_study.Findings]:
            """Return a model of a kind, trained, and the findings on it."""
            name = f"{kind}-{seed}"
            with open_one(name, {"kind": kind, "seed": seed}) as training:
                callbacks: Callbacks[torch.nn.Module] = training.callbacks()
                data = (
                    split.images,
                    held_out.images,
                    config.epochs,
                    seed,
                    callbacks,
                    training.checkpointer,
                )
                if kind == "beta_vae":
                    model, _ = fit_vector_vae(config.model, config.optimiser, *data)
                    found = digits_study.study_beta_vae(model, judges, config, seed)
                else:
                    plain = fit_autoencoder(config.autoencoder, config.optimiser, *data)
                    found = digits_study.study_autoencoder(plain, judges, config, seed)
                training.log.summary(chapter.name_metrics(found.numbers))
            return model if kind == "beta_vae" else plain, found

        models = {
            kind: [train_one(kind, seed) for seed in config.seeds]
            for kind in ("beta_vae", "autoencoder")
        }
        findings = {kind: [found for _, found in pairs] for kind, pairs in models.items()}
        mus = [encode_images(model, split.images)[0] for model, _ in models["beta_vae"]]
        judged = [
            (
                model,
                archetypes.find_class_archetypes(model, mu, split.labels),
                archetypes.find_cluster_archetypes(
                    model, mu, split.labels, config.num_clusters, seed
                ),
            )
            for (model, _), mu, seed in zip(models["beta_vae"], mus, config.seeds, strict=True)
        ]
        right = {}
        for level in config.noise_levels:
            log.message(f"recognising images with noise of {level:g}")
            right[level] = archetypes.recognise_noisy(
                judged, judges.classifier, judges.images, unseen.labels, level, params.seed
            )
        ranking = rankings.rank_latents(dict(zip(config.seeds, findings["beta_vae"], strict=True)))
        tables = {
            "cards.csv": findings["beta_vae"][0].cards,
            "ranking.csv": ranking,
            "agreement.csv": rankings.measure_agreement(ranking, params.seed),
            "comparison.csv": digits_study.compare(findings["beta_vae"], findings["autoencoder"]),
            "recognition.csv": archetypes.summarise_recognition(right, params.seed),
        }
        out.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            table.to_csv(out / name, index=False)
        model, of_class, of_cluster = judged[0]
        save_vector_vae(out / "model.safetensors", model)
        save_tensors(
            out / "archetypes.safetensors",
            {
                f"{kind}_{part}": getattr(one, part)
                for kind, one in (("class", of_class), ("cluster", of_cluster))
                for part in ("codes", "images", "labels")
            },
        )
        with figure_style():
            for name, figure in draw_all(
                model,
                models["autoencoder"][0][0],
                findings,
                ranking,
                tables["recognition.csv"],
                (of_class, of_cluster),
                judges.images,
                unseen.labels,
            ).items():
                save_figure(figure, out / name)
        found = describe(config, tables, right, params.seed)
        chapter.write_chapter(out, found)
        log.summary(chapter.name_metrics({one.name: one.value for one in found.headlines}))
    log.artifact(out)
