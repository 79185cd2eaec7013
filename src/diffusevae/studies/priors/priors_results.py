"""Every first stage and prior trained and measured, and the files that they leave."""

import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from diffusevae.core.params import override
from diffusevae.core.stage_log import StageLog
from diffusevae.data.dataset import Split, in_batches, to_unit
from diffusevae.figures.drawing import figure_style, save_figure
from diffusevae.metrics.set_comparison import classify, extract_features
from diffusevae.models.classifier import Classifier
from diffusevae.models.diffusion import DiffusionConfig
from diffusevae.models.latent_mixture import MixtureConfig
from diffusevae.models.pca import fit_pca
from diffusevae.models.vae import VAE, VAEConfig, encode_all, encode_posteriors, reconstruct_all
from diffusevae.sampling.generation import Pair, sample_new
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.studies.priors.new_codes import KnownCodes, NewCodes, count_parameters, draw_new
from diffusevae.studies.priors.priors_figures import draw_new_codes, draw_priors
from diffusevae.studies.priors.priors_study import (
    FirstStage,
    PriorJudge,
    PriorsConfig,
    check_classes,
    order_priors,
    read_best,
)
from diffusevae.studies.priors.probes import measure_probes
from diffusevae.training.loop import OptimiserConfig
from diffusevae.training.stage_trainings import OpenTraining
from diffusevae.training.vae_training import TrainVAEConfig, fit_vae

SECTIONS = {  # of an experiment: what the comparison reads
    "seed": int,
    "vae": VAEConfig,
    "vae_optimiser": OptimiserConfig,
    "train_vae": TrainVAEConfig,
    "prior": MixtureConfig,
    "diffusion": DiffusionConfig,
    "diffusion_optimiser": OptimiserConfig,
    "sampler": SamplerConfig,
    "priors": PriorsConfig,
}


class Priors:
    """The comparison so far: the rows of its three tables, and new images by title and way.

    `own` has the experiment's first stage and its refiner, on the device to use.
    """

    def __init__(
        self,
        params: SimpleNamespace,
        train: Split,
        validation: Split,
        test: Split,
        own: Pair,
        classifier: Classifier,
    ) -> None:
        self.params, self.config, self.own, self.device = params, params.priors, own, own.device
        check_classes(self.config, train.labels)
        self.train, self.validation = (each.to(self.device) for each in (train, validation))
        count = self.config.num_images
        self.test = test.first(count).to(self.device)
        self.classify = partial(classify, classifier, device=self.device)
        real = self.test.images.cpu()
        self.judge = PriorJudge(
            to_unit(real),
            partial(extract_features, classifier, device=self.device),
            extract_features(classifier, real, self.device),
            params.seed,
            self.config.num_resamples,
        )
        self.rows: list[dict[str, object]] = []
        self.sizes: list[pd.DataFrame] = []
        self.probes: list[dict[str, object]] = []
        self.shown: dict[tuple[str, str], Tensor] = {}

    def compare_all(self, open_one: OpenTraining, log: StageLog) -> None:
        """Measure every first stage with its priors, then the probes of pixels and PCA."""
        numbers = 0
        for stage in self.config.first_stages:
            start = time.monotonic()
            vae = self._train_first_stage(stage, open_one)
            log.timing(f"{stage.name}_seconds", time.monotonic() - start)
            numbers = max(numbers, int(np.prod(vae.latent_shape)))
            self._compare_priors(stage, vae, open_one, log)
        seen, unseen = self.train.images.cpu(), self.test.images.cpu()
        pca = fit_pca(seen)
        numbers = min(numbers, unseen[0].numel())
        self._probe("pixels", to_unit(seen), to_unit(unseen))
        parts = (pca.encode(images, numbers) for images in (seen, unseen))
        self._probe(f"{numbers} principal components", *parts)
        for best in read_best(pd.DataFrame(self.rows)).to_dict("records"):
            log.message(
                f"{best['kind']}: the best prior is {best['prior']}, at {best['share']:.2f} of the "
                f"mixture's distance; training codes are at {best['least']:.2f}"
            )

    def _compare_priors(
        self, stage: FirstStage, vae: VAE, open_one: OpenTraining, log: StageLog
    ) -> None:
        """Measure one first stage with each of its priors."""
        told = (lambda split: split.labels) if stage.labels else (lambda split: None)
        encoded = [
            encode_posteriors(vae, split.images, told(split))
            for split in (self.train, self.validation)
        ]
        codes, unseen = encoded[0][0], encode_all(vae, self.test.images, told(self.test))
        if not stage.labels:  # else the encoder was told what a probe is to find
            self._probe(f"{stage.name} codes", codes, unseen)
        x_hat = reconstruct_all(vae, self.test.images, told(self.test))
        described = {"kind": stage.name, "numbers": codes[0].numel()}
        described |= self.judge.restored(x_hat.cpu()) | {"parameters": count_parameters(vae)}
        placed, others = ((mu.to(self.device), logvar.to(self.device)) for mu, logvar in encoded)
        known = KnownCodes(placed, others, self.train.labels.cpu() if stage.labels else None)
        before: dict[str, np.ndarray] = {}
        for prior in order_priors(stage.priors):
            start = time.monotonic()
            new = draw_new(prior, self.params, vae, known, stage.name, open_one)
            log.timing(f"{stage.name}_{prior}_seconds".replace(" ", "_"), time.monotonic() - start)
            if new.sizes is not None:
                self.sizes.append(new.sizes.assign(kind=stage.name))
            row = described | {"prior": prior, "prior_parameters": new.size}
            row |= self._measure(f"{stage.name}, {prior}", vae, new, before)
            self.rows.append(row)
            log.message(f"{stage.name} {prior}  Frechet distance {row['decoded_frechet']:.4g}")

    def save(self, out: Path) -> None:
        """Write table.csv, mixtures.csv, probes.csv, table.png and images.png."""
        out.mkdir(parents=True, exist_ok=True)
        table = pd.DataFrame(self.rows)
        columns = ["features", "num_labels", "accuracy", "accuracy_low", "accuracy_high"]
        probes = pd.DataFrame(self.probes, columns=columns)
        table.to_csv(out / "table.csv", index=False)
        pd.concat(self.sizes).to_csv(out / "mixtures.csv", index=False)
        probes.to_csv(out / "probes.csv", index=False)
        with figure_style():
            save_figure(draw_priors(table, probes), out / "table.png")
            save_figure(draw_new_codes(self.shown), out / "images.png")

    def _train_first_stage(self, stage: FirstStage, open_one: OpenTraining) -> VAE:
        """Return the experiment's own first stage, or another one trained as that was."""
        params, known, held_out = self.params, self.train, self.validation
        if stage.kind == self.own.vae.config.kind and not stage.labels:
            return self.own.vae
        config = override(params.vae, {"kind": stage.kind}, "vae")
        with open_one(stage.name, {"kind": stage.name}) as training:
            vae, _ = fit_vae(
                config,
                params.vae_optimiser,
                known.images,
                held_out.images,
                params.train_vae.epochs,
                params.seed,
                training.callbacks(),
                training.checkpointer,
                labels=(known.labels, held_out.labels) if stage.labels else None,
                flips=known.flips,
            )
        return vae

    def _measure(
        self, title: str, vae: VAE, new: NewCodes, before: dict[str, np.ndarray]
    ) -> dict[str, float]:
        """Return the distances of the images that codes come to, decoded and refined.

        `before` has the features of those of the mixture, and takes them when it comes. Of decoded
        images whose class was told: the share that the classifier takes for it.
        """
        decoded = decode_all(vae, new.codes, new.labels)
        made = {"decoded": decoded.cpu()}
        if vae is self.own.vae:
            count, seed = len(decoded), self.params.seed
            refiner = self.own.diffusevae
            made["refined"] = sample_new(refiner, self.params.sampler, count, seed, decoded)
        row: dict[str, float] = {}
        if new.labels is not None:
            row |= self.judge.recognised(self.classify(decoded), new.labels)
        for way, images in made.items():
            self.shown[title, way] = images
            features = self.judge.features(images)
            row |= self.judge.made(way, features, before.get(way))
            before.setdefault(way, features)
        return row

    def _probe(self, name: str, known: Tensor, unseen: Tensor) -> None:
        """Measure the probes of features, N x any, of training and test images."""
        first, second = (each.flatten(1).double().numpy() for each in (known, unseen))
        config = self.config
        found = measure_probes(
            (first, self.train.labels.cpu().numpy()),
            (second, self.test.labels.cpu().numpy()),
            config.num_labels,
            self.params.seed,
            config.num_resamples,
        )
        self.probes += [{"features": name, **row} for row in found]


@torch.inference_mode()
def decode_all(vae: VAE, codes: Tensor, labels: Tensor | None) -> Tensor:
    """Return the images of codes N x Cz x h x w, on the VAE's device; labels (N) as it is told."""
    device = next(vae.parameters()).device
    parts = in_batches(codes, vae.image_shape)
    told = [None] * len(parts) if labels is None else labels.to(device).split(len(parts[0]))
    return torch.cat(
        [vae.decode(part.to(device), each) for part, each in zip(parts, told, strict=True)]
    )
