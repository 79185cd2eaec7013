"""A few images in the place of all: an experiment's sections scaled down, and the work they are."""

import copy
from collections.abc import Mapping

from tasks.probe.cost import Load

SCALES = (1, 4, 16, 64)  # how many times the few images
BATCHES = 8  # that a diffusion model is trained on at scale 1
SAMPLED = 100  # images that are sampled and evaluated at scale 1
FORWARD = 1 / 3  # of a training step's work: a backward pass is that of two forward passes
SPLITS = ("train", "validation", "test")
TRAININGS = ("train_vae", "train_ddpm", "train_diffusevae")


def choose_scales(sections: Mapping, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """Return the scales at which an experiment is tried; a small one at once with all it has."""
    at_second = SCALES[1] * BATCHES * sections["diffusion_optimiser"]["batch_size"]
    return SCALES[1:] if at_second >= sizes["train"] else SCALES


def scale_down(
    dataset: dict, sections: dict, sizes: Mapping[str, int], scale: int
) -> tuple[dict, dict]:
    """Return both entries of params.yaml for one epoch, one trial and a few batches."""
    dataset, sections = copy.deepcopy(dataset), copy.deepcopy(sections)
    few = BATCHES * sections["diffusion_optimiser"]["batch_size"] * scale
    few, sampled = max(few, sections["prior"]["num_components"]), SAMPLED * scale
    train, validation, test = (
        min(sizes[split], count)
        for split, count in zip(SPLITS, (few, sampled, sampled), strict=True)
    )
    dataset["images"] |= {"train_images": train, "test_images": test}
    dataset["classifier"] |= {"epochs": 1}
    for stage in TRAININGS:
        kept = [1] if sections[stage]["snapshot_epochs"] else []
        sections[stage] |= {"epochs": 1, "snapshot_epochs": kept}
    for stage in ("tune_vae", "tune_ddpm"):
        sections[stage] |= {
            "n_trials": min(1, sections[stage]["n_trials"]),
            "epochs": 1,
            "num_images": min(train, sections[stage]["num_images"]),
        }
    sections["sample"] |= {name: min(test, count) for name, count in sections["sample"].items()}
    sections["sampler"] |= {"num_steps": min(2 * scale, sections["sampler"]["num_steps"])}
    return dataset, sections


def load_of(target: str, dataset: Mapping, sections: Mapping, sizes: Mapping[str, int]) -> Load:
    """Return the work of a target, and the images that it holds, in images."""
    stage = target.split("@")[0]
    train, held_out = sizes["train"], FORWARD * sizes["validation"]
    if stage == "train_classifier":
        return Load(dataset["classifier"]["epochs"] * (train + held_out), train)
    section = sections.get(stage, {})
    if stage in TRAININGS:
        work = section["epochs"] * (train + held_out)
        return Load(work, train, len(section["snapshot_epochs"]))
    if stage.startswith("tune"):
        trials = section["n_trials"] * section["epochs"]
        return Load(trials * (min(train, section["num_images"]) + held_out), train)
    images = sum(sections["sample"].values())
    steps = sections["sampler"]["num_steps"] if stage == "sample" else 1
    return Load(images * steps, images)
