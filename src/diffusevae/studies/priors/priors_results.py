"""Every first stage and prior trained and measured, and the files that they leave."""

import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from diffusevae.core.params import override
from diffusevae.core.stage_log import StageLog
from diffusevae.data.dataset import Split, in_batches, to_unit
from diffusevae.figures.drawing import figure_style, save_figure
from diffusevae.metrics.set_comparison import extract_features
from diffusevae.models.classifier import Classifier
from diffusevae.models.diffusion import DiffusionConfig
from diffusevae.models.latent_mixture import Mixture, MixtureConfig
from diffusevae.models.pca import fit_pca
from diffusevae.models.vae import VAE, Kind, VAEConfig, encode_all, reconstruct_all
from diffusevae.sampling.generation import Pair, sample_new
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.studies.priors.learned_priors import (
    draw_codes,
    draw_indexed_codes,
    fit_code_diffusion,
    fit_index_prior,
)
from diffusevae.studies.priors.mixture_sizes import choose_mixture
from diffusevae.studies.priors.priors_figures import draw_new_codes, draw_priors
from diffusevae.studies.priors.priors_study import (
    MIXTURE,
    PriorJudge,
    PriorName,
    PriorsConfig,
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
        self.train, self.labels = train.images.to(self.device), train.labels.numpy()
        self.validation = validation.images.to(self.device)
        count = self.config.num_images
        self.test, self.wanted = test.images[:count], test.labels[:count].numpy()
        self.judge = PriorJudge(
            to_unit(self.test),
            lambda made: extract_features(classifier, made, self.device),
            extract_features(classifier, self.test, self.device),
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
            vae = self._train_first_stage(stage.kind, open_one)
            log.timing(f"{stage.kind}_seconds", time.monotonic() - start)
            numbers = max(numbers, int(np.prod(vae.latent_shape)))
            codes, held_out, unseen = (
                encode_all(vae, images.to(self.device))
                for images in (self.train, self.validation, self.test)
            )
            self._probe(f"{stage.kind} codes", codes, unseen)
            restored = self.judge.restored(reconstruct_all(vae, self.test.to(self.device)).cpu())
            described = {"kind": stage.kind, "numbers": codes[0].numel(), **restored}
            described["parameters"] = count_parameters(vae)
            before: dict[str, np.ndarray] = {}
            for prior in order_priors(stage.priors):
                start = time.monotonic()
                made, size = self._draw(prior, vae, codes, held_out, open_one)
                log.timing(f"{stage.kind}_{prior}_seconds", time.monotonic() - start)
                row = described | {"prior": prior, "prior_parameters": size}
                self.rows.append(row | self._measure(stage.kind, prior, vae, made, before))
                log.message(
                    f"{stage.kind} {prior}  Frechet distance {self.rows[-1]['decoded_frechet']:.4g}"
                )
        pca = fit_pca(self.train.cpu())
        numbers = min(numbers, self.test[0].numel())
        self._probe("pixels", to_unit(self.train.cpu()), to_unit(self.test))
        parts = (pca.encode(images.cpu(), numbers) for images in (self.train, self.test))
        self._probe(f"{numbers} principal components", *parts)
        for best in read_best(pd.DataFrame(self.rows)).to_dict("records"):
            log.message(
                f"{best['kind']}: the best prior is {best['prior']}, at {best['share']:.2f} of the "
                "mixture's distance"
            )

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

    def _train_first_stage(self, kind: Kind, open_one: OpenTraining) -> VAE:
        """Return the experiment's own first stage, or one of another kind trained as that was."""
        params = self.params
        if kind == self.own.vae.config.kind:
            return self.own.vae
        config = override(params.vae, {"kind": kind}, "vae")
        with open_one(kind, {"kind": kind}) as training:
            vae, _ = fit_vae(
                config,
                params.vae_optimiser,
                self.train,
                self.validation,
                params.train_vae.epochs,
                params.seed,
                training.callbacks(),
                training.checkpointer,
            )
        return vae

    def _draw(
        self, prior: PriorName, vae: VAE, codes: Tensor, held_out: Tensor, open_one: OpenTraining
    ) -> tuple[Tensor, int]:
        """Return new codes of a prior (CPU), and how many parameters it has."""
        params, num, kind = self.params, self.config.num_images, vae.config.kind
        rng = torch.Generator().manual_seed(params.seed)
        if prior == "normal":
            return torch.randn(num, *vae.latent_shape, generator=rng), 0
        codes, held_out = codes.to(self.device), held_out.to(self.device)
        if prior == MIXTURE:
            sizes = self.config.num_components
            mixture, table = choose_mixture(params.prior, sizes, codes, held_out, params.seed)
            self.sizes.append(table.assign(kind=kind))
            return mixture.sample(num, rng), count_moments(mixture)
        with open_one(f"{kind}-{prior}", {"kind": kind, "prior": prior}) as training:
            if prior == "autoregressive":
                indexed = fit_index_prior(params, vae, codes, held_out, training)
                made = draw_indexed_codes(vae, indexed.eval(), num, params.seed)
                return made, count_parameters(indexed)
            model = fit_code_diffusion(params, codes, held_out, training)
            return draw_codes(params, model, num, params.seed), count_parameters(model)

    def _measure(
        self, kind: Kind, prior: PriorName, vae: VAE, codes: Tensor, before: dict[str, np.ndarray]
    ) -> dict[str, float]:
        """Return the distances of the images that codes come to, decoded and refined.

        `before` has the features of those of the mixture, and takes them when it comes.
        """
        decoded = decode_all(vae, codes)
        made = {"decoded": decoded.cpu()}
        if vae is self.own.vae:
            count, seed = len(decoded), self.params.seed
            refiner = self.own.diffusevae
            made["refined"] = sample_new(refiner, self.params.sampler, count, seed, decoded)
        row: dict[str, float] = {}
        for way, images in made.items():
            self.shown[f"{kind}, {prior}", way] = images
            features = self.judge.features(images)
            row |= self.judge.made(way, features, before.get(way))
            before.setdefault(way, features)
        return row

    def _probe(self, name: str, known: Tensor, unseen: Tensor) -> None:
        """Measure the probes of features, N x any, of training and test images."""
        first, second = (each.flatten(1).double().numpy() for each in (known, unseen))
        config = self.config
        found = measure_probes(
            (first, self.labels),
            (second, self.wanted),
            config.num_labels,
            self.params.seed,
            config.num_resamples,
        )
        self.probes += [{"features": name, **row} for row in found]


@torch.inference_mode()
def decode_all(vae: VAE, codes: Tensor) -> Tensor:
    """Return the images of codes N x Cz x h x w, on the VAE's device."""
    device = next(vae.parameters()).device
    parts = in_batches(codes, vae.image_shape)
    return torch.cat([vae.decode(part.to(device)) for part in parts])


def count_parameters(model: nn.Module) -> int:
    """Return how many numbers of a model were learned."""
    return sum(p.numel() for p in model.parameters()) + sum(
        buffer.numel() for name, buffer in model.named_buffers() if name == "codebook.entries"
    )


def count_moments(mixture: Mixture) -> int:
    """Return how many numbers a mixture has: weights, means and (symmetric) covariances."""
    k, d = mixture.means.shape
    return k * (1 + d + (d if mixture.factors.dim() == 2 else d * (d + 1) // 2))
