"""How data sets are divided; and that what uses the first images of a split gets a sample."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import hypergeom

from diffusevae.core.errors import InputError
from diffusevae.data.dataset import DatasetConfig
from diffusevae.data.division import describe_missing, divide, draw_test
from diffusevae.data.preparation import prepare
from diffusevae.metrics.distribution import frechet_distance

OFFICIAL = DatasetConfig(
    source="mnist",
    image_size=32,
    interpolation="bilinear",
    antialias=False,
    validation_images=5000,
    train_images=None,
    test_images=None,
    seed=0,
)
OWN = dataclasses.replace(OFFICIAL, source="pets", validation_images=20, test_images=30)
DIGITS = torch.arange(60_000) // 6000  # sorted by class
CLASSES, PER_CLASS = 5, 60


def test_train_and_validation_are_disjoint_and_complete():
    train, validation = divide(OFFICIAL, DIGITS).values()
    assert (len(train), len(validation)) == (55_000, 5000)
    assert torch.equal(torch.cat([train, validation]).sort().values, torch.arange(60_000))
    # A random choice: of the official set's halves each gives about half.
    assert 2300 < (validation < 30_000).sum() < 2700


def test_division_depends_on_the_seed_and_smaller_training_sets_are_nested():
    train, validation = divide(OFFICIAL, DIGITS).values()
    few = dataclasses.replace(OFFICIAL, train_images=300)
    fewer, same_validation = divide(few, DIGITS).values()
    assert torch.equal(validation, same_validation)
    assert len(fewer) == 300 and set(fewer.tolist()) <= set(train.tolist())
    assert all(map(torch.equal, divide(few, DIGITS).values(), (fewer, validation)))
    other = divide(dataclasses.replace(OFFICIAL, seed=1), DIGITS)["validation"]
    assert len(set(other.tolist()) & set(validation.tolist())) < 1000  # 417 expected by chance


def test_without_an_official_test_set_all_splits_are_drawn_from_the_same_images():
    labels = torch.zeros(100, dtype=torch.int64)
    splits = divide(OWN, labels)
    assert {name: len(indices) for name, indices in splits.items()} == {
        "train": 50,
        "validation": 20,
        "test": 30,
    }
    assert torch.equal(torch.cat([*splits.values()]).sort().values, torch.arange(100))
    fewer = divide(dataclasses.replace(OWN, train_images=7), labels)
    assert set(fewer["train"].tolist()) < set(splits["train"].tolist())
    assert torch.equal(fewer["test"], splits["test"])


def test_too_few_images_are_refused_with_what_is_asked_for():
    with pytest.raises(InputError, match="pets: 50 images, but .* ask for 51; ask for fewer"):
        divide(OWN, torch.zeros(50, dtype=torch.int64))
    assert len(divide(OWN, torch.zeros(51, dtype=torch.int64))["train"]) == 1


PARTS = ["train"] * 40 + ["test"] * 12 + ["validation"] * 11


def test_splits_that_the_source_says_are_drawn_from_their_own_images():
    labels = torch.arange(63) % 3
    splits = divide(dataclasses.replace(OWN, validation_images=7, test_images=12), labels, PARTS)
    assert set(splits["test"].tolist()) == set(range(40, 52))
    assert (
        set(splits["validation"].tolist()) < set(range(52, 63)) and len(splits["validation"]) == 7
    )
    assert set(splits["train"].tolist()) == set(range(40))
    assert splits["test"].tolist() != sorted(splits["test"].tolist())  # in random order
    without = [part if part != "validation" else "train" for part in PARTS]
    splits = divide(dataclasses.replace(OWN, validation_images=7, test_images=12), labels, without)
    assert len(splits["train"]) == 44 and len(splits["validation"]) == 7
    assert not set(range(40, 52)) & {*splits["train"].tolist(), *splits["validation"].tolist()}


def test_null_means_all_of_the_test_split_where_the_source_has_one():
    labels = torch.arange(63) % 3
    config = dataclasses.replace(OWN, validation_images=7, test_images=None)
    whole = divide(dataclasses.replace(config, test_images=12), labels, PARTS)
    splits = divide(config, labels, PARTS)
    assert all(torch.equal(splits[name], whole[name]) for name in whole)
    with_two = ["train"] * 52 + ["validation"] * 11
    for parts in (None, with_two):
        with pytest.raises(InputError, match="pets: test_images is null, .* a folder test; there"):
            divide(config, labels, parts)


def test_a_split_of_too_few_images_is_named():
    labels = torch.zeros(63, dtype=torch.int64)
    config = dataclasses.replace(OWN, validation_images=7, test_images=13)
    with pytest.raises(InputError, match="pets: 12 images of split test, but test_images asks for"):
        divide(config, labels, PARTS)
    config = dataclasses.replace(OWN, validation_images=7, test_images=12, train_images=41)
    with pytest.raises(InputError, match="pets: 40 images of split train, .* ask for 41 of them"):
        divide(config, labels, PARTS)


@pytest.mark.parametrize("seed", range(12))
def test_a_small_class_is_in_train_then_in_test_then_in_validation(seed):
    labels = torch.tensor([0] * 60 + [1] * 37 + [2] * 3 + [3] * 2 + [4])
    splits = divide(dataclasses.replace(OWN, seed=seed), labels)
    held = {name: Counter(labels[indices].tolist()) for name, indices in splits.items()}
    assert all(held[name][each] for each in (0, 1, 2) for name in splits)
    assert (held["train"][3], held["test"][3], held["validation"][3]) == (1, 1, 0)
    assert (held["train"][4], held["test"][4], held["validation"][4]) == (1, 0, 0)
    assert torch.cat([*splits.values()]).unique().numel() == 103
    said = describe_missing(labels, splits, ["cats", "dogs", "owls", "bats", "apes"])
    assert said.startswith(
        "warning: 2 of 5 classes are not in every split: bats (2 images, not in validation), "
        "apes (1 image, not in validation and test); add images"
    )
    few = divide(dataclasses.replace(OWN, seed=seed, train_images=5), labels)
    assert sorted(labels[few["train"]].tolist()) == [0, 1, 2, 3, 4]


def test_of_many_missing_classes_a_few_are_named_and_of_none_nothing_is_said():
    labels = torch.arange(60)
    splits = divide(dataclasses.replace(OWN, validation_images=5, test_images=5), labels)
    said = describe_missing(labels, splits, [str(each) for each in range(60)])
    assert "60 of 60 classes" in said and " and 55 more; add" in said
    assert describe_missing(DIGITS, divide(OFFICIAL, DIGITS), "0123456789") is None


def check_prefixes(labels: torch.Tensor, num_classes: int, sizes: tuple[int, ...]) -> None:
    """Of the first n images each class has as many as a random sample would have, one time in
    a million excepted; the seed is fixed, so this cannot change from run to run.
    """
    counts = labels.bincount(minlength=num_classes)
    for n in sizes:
        for each in range(num_classes):
            drawn = hypergeom(len(labels), int(counts[each]), n)
            found = int((labels[:n] == each).sum())
            assert drawn.ppf(1e-6) <= found <= drawn.ppf(1 - 1e-6), (n, each, found)


def test_the_first_images_of_every_split_are_a_random_sample():
    for config in (OFFICIAL, dataclasses.replace(OFFICIAL, source="pets", test_images=4000)):
        for indices in divide(config, DIGITS).values():
            check_prefixes(DIGITS[indices], 10, (50, 500, 2000))
    official_test = draw_test(OFFICIAL, DIGITS[::6])
    assert torch.equal(official_test.sort().values, torch.arange(10_000))
    check_prefixes(DIGITS[::6][official_test], 10, (50, 500, 2000))
    few = draw_test(dataclasses.replace(OFFICIAL, test_images=256), DIGITS[::6])
    check_prefixes(DIGITS[::6][few], 10, (50, 100))
    assert 2 * len(set(few.tolist()) & set(range(5000))) in range(200, 312)  # not the first ones


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> dict:
    """The splits of a folder of stripes, in classes that differ in their angle."""
    folder = tmp_path_factory.mktemp("stripes")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16] / 16
    for each in range(CLASSES):
        (folder / str(each)).mkdir()
        angle = np.pi * each / CLASSES
        for i in range(PER_CLASS):
            waves = np.sin(12 * (x * np.cos(angle) + y * np.sin(angle)) + rng.uniform(0, 6))
            pixels = 127 + 100 * waves + rng.normal(0, 10, waves.shape)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{each}/{i}.png")
    config = dataclasses.replace(OWN, image_size=16, validation_images=60, test_images=120)
    return prepare(config, folder)


def test_labels_follow_their_images_in_every_split(prepared):
    for tensors in prepared.values():
        assert torch.equal(tensors["labels"], tensors["indices"] // PER_CLASS)
        check_prefixes(tensors["labels"], CLASSES, (20, 50))
    # An image's strongest wave tells its class.
    for tensors in prepared.values():
        spectra = torch.fft.rfft2(tensors["images"][:, 0].double() - 127).abs().flatten(1)
        means = torch.stack([spectra[tensors["labels"] == each].mean(0) for each in range(CLASSES)])
        told = torch.cdist(spectra, means).argmin(1)
        assert (told == tensors["labels"]).double().mean() > 0.95


def test_a_model_of_some_classes_loses_against_real_images_in_the_gate_s_selection(prepared):
    """The gate refines the first n test images, and the next n are the generated ones' reference.

    Sorted by class, these were classes 2 to 4, and a model of no other class won.
    """
    images = prepared["test"]["images"]
    count = len(images) // 2
    axes = torch.linalg.svd(
        prepared["train"]["images"].flatten(1).double(), full_matrices=False
    ).Vh[:12]

    def features(chosen: torch.Tensor) -> np.ndarray:
        return (chosen.flatten(1).double() / 255 @ axes.T).numpy()

    reference = features(images[count : 2 * count])
    train = prepared["train"]
    narrow = train["images"][train["labels"] >= 2][:count]
    real = frechet_distance(reference, features(images[:count]))
    assert 3 * real < frechet_distance(reference, features(narrow))
    by_class = torch.cat([images[prepared["test"]["labels"] == each] for each in range(CLASSES)])
    old = features(by_class[count : 2 * count])
    assert frechet_distance(old, features(by_class[:count])) > frechet_distance(
        old, features(narrow)
    )
