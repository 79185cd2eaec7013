"""What versions of an experiment's model are judged by: the same data and work for all."""

from collections.abc import Set
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from diffusevae.core.device import choose_device
from diffusevae.data.dataset import Split, load_split
from diffusevae.experiments.experiment import Experiment
from diffusevae.experiments.params_file import load_gate
from diffusevae.metrics.class_balance import count_classes, describe_missed, find_missed
from diffusevae.metrics.copies import find_copies
from diffusevae.metrics.promotion import GateConfig, Made
from diffusevae.metrics.set_comparison import extract_features
from diffusevae.models.classifier import Classifier, load_classifier
from tasks.registry.versions import load_version


@dataclass(frozen=True, eq=False)
class Evidence:
    """Real images, the data set's classifier, and the rule.

    codes: a line for each version that worked with other code than is at hand.
    """

    experiment: Experiment
    config: GateConfig
    device: torch.device
    classifier: Classifier
    train: Split
    validation: Split
    codes: list[str] = field(default_factory=list)

    @property
    def refined(self) -> Tensor:
        """The validation images that versions refine; they generate as many."""
        return self.validation.images[: self._count]

    @property
    def others(self) -> Tensor:
        """As many other validation images, which new images are held against."""
        return self.validation.images[self._count : 2 * self._count]

    @property
    def _count(self) -> int:
        return min(self.config.num_images, len(self.validation) // 2)

    def features(self, images: Tensor) -> np.ndarray:
        """Return the classifier's features of images."""
        return extract_features(self.classifier, images, self.device)

    def make(self, number: str) -> Made:
        """Let a version work, with the code that it was registered with. Raises InputError."""
        with load_version(self.experiment, number) as version:
            if version.code:
                self.codes.append(f"version {number}: {version.code}")
            return version.make(self.refined, self.config.seed)

    def list_faults(self, number: str, made: Made, champion: Made | None) -> list[str]:
        """Return why a version may be no champion, however good its images look, a line each.

        Copies of real images among its new ones; classes that these hardly show, if the champion's
        do, or, where there is none, if that is so of more than half of the classes.
        """
        images, shown = (
            {f"version {number}": made.generated},
            (self.train.shown, self.validation.shown),
        )
        copied = find_copies(images, *shown, self.config.seed, self.device)
        missed = self.find_missed(made)
        if champion is not None:
            missed -= self.find_missed(champion)
        elif len(missed) <= self.classifier.num_classes / 2:
            missed = set()
        return [*copied, *self.describe_missed(number, made, missed)]

    def find_missed(self, made: Made) -> set[int]:
        """Return the classes that new images hardly show."""
        return set(find_missed(self._count_classes(made.generated), self._real_classes))

    def describe_missed(self, number: str, made: Made, classes: Set[int]) -> list[str]:
        """Return the line about classes that a version's new images hardly show; none for none."""
        if not classes:
            return []
        counts = self._count_classes(made.generated)
        return [describe_missed(f"version {number}", counts, self._real_classes, classes)]

    def _count_classes(self, images: Tensor) -> np.ndarray:
        return count_classes(self.classifier, images, self.device)

    @cached_property
    def _real_classes(self) -> np.ndarray:
        return self._count_classes(self.others)


def load_evidence(experiment: Experiment) -> Evidence:
    """Return what an experiment's versions are judged by. Raises InputError."""
    device = choose_device()
    train, validation = (
        load_split(experiment.data("prepared", f"{part}.safetensors"))
        for part in ("train", "validation")
    )
    network = load_classifier(experiment.data("train_classifier", "model.safetensors"), device)
    return Evidence(experiment, load_gate(), device, network, train, validation)
