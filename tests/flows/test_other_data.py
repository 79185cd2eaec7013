"""The whole pipeline beyond 1 x 32 x 32: CIFAR-10, and images of the user's own at 64 x 64."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffusevae.core.tensor_file import load_tensors
from diffusevae.data.dataset import load_split
from diffusevae.data.idx import read_idx_set
from diffusevae.metrics.metric import DISTRIBUTION, PAIRED
from diffusevae.models.vae import load_vae
from tests.support.checkouts import ROOT, copy_checkout, run_pipeline
from tests.support.real_data import raw_folder


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, prefect_server) -> Path:
    """A checkout of the project, whose downloads come from the test session's own."""
    made = copy_checkout(tmp_path_factory.mktemp("other_data"))
    raw_folder("alexnet")
    (made / "scratch").mkdir(exist_ok=True)
    (made / "scratch/downloads").symlink_to(ROOT / "scratch/downloads")
    return made


def run(checkout: Path, experiment: str, prefect_server: str) -> None:
    done = run_pipeline(checkout, experiment, PREFECT_API_URL=prefect_server)
    assert done.returncode == 0, done.stdout[-3000:]


def check(checkout: Path, name: str, dataset: str, shape: tuple[int, ...]) -> None:
    """What every experiment leaves, whatever its images."""
    artifacts = checkout / "artifacts" / name
    assert load_vae(artifacts / "train_vae/model.safetensors").image_shape == shape
    pairs = load_tensors(artifacts / "sample/pairs.safetensors")
    test = load_split(checkout / f"data/prepared/{dataset}/test.safetensors").images
    assert torch.equal((pairs["real"] * 255).round().byte(), test[: len(pairs["real"])])
    assert pairs["diffusevae"].shape == pairs["real"].shape == (128, *shape)
    metrics = json.loads((artifacts / "evaluate/metrics.json").read_text())
    for model in ("vae", "diffusevae"):
        assert all(np.isfinite(metrics["paired"][model][each]["value"]) for each in PAIRED)
    for table in metrics["generated"].values():
        assert all(np.isfinite(table[each]["value"]) for each in DISTRIBUTION)
    assert (artifacts / "report/report.html").stat().st_size > 100_000
    for figure in ("reconstructions", "generated", "forward"):
        assert (artifacts / f"figures/{figure}.png").stat().st_size > 3_000


@pytest.mark.slow
@pytest.mark.mirror
def test_cifar10_runs_from_download_to_report(checkout, prefect_server):
    raw_folder("cifar10_test")
    params = checkout / "params.yaml"
    # The archive is 170 MB; its test images, divided, are enough to see that all stages take them.
    text, tiny = params.read_text(), "      <<: *mnist_tiny_images\n      source: cifar10\n"
    assert text.count(tiny) == 1
    params.write_text(text.replace(tiny, tiny.replace("cifar10", "cifar10_test")))
    run(checkout, "cifar10_smoke", prefect_server)
    check(checkout, "cifar10_smoke", "cifar10_tiny", (3, 32, 32))


@pytest.mark.slow
def test_a_folder_of_own_images_runs_as_the_docs_say(checkout, prefect_server):
    digits, labels = read_idx_set(raw_folder("mnist"), "t10k")
    for label, name, colour in ((3, "cats", (255, 140, 60)), (5, "dogs", (90, 160, 255))):
        (checkout / "data/raw/pets" / name).mkdir(parents=True)
        for i, digit in enumerate(digits[labels == label][:260, 0].numpy()):
            picture = Image.fromarray((digit[..., None] / 255 * colour).astype(np.uint8))
            picture = picture.resize((64 + 8 * (i % 3), 80))  # of several sizes
            picture.save(checkout / f"data/raw/pets/{name}/{i:03}.{('png', 'jpg')[i % 2]}")
    page = (ROOT / "docs/experiments.md").read_text()
    [added] = re.findall(r"```yaml\ndatasets:\n(.*?)```", page, re.S)
    dataset, experiment = added.split("experiments:\n")
    params = checkout / "params.yaml"
    text = params.read_text()
    # Each at the end of its root: what follows is the next one.
    ends = {"\nexperiments:\n": dataset, "\n# What an autoencoder's code means": experiment}
    for place, lines in ends.items():
        assert text.count(place) == 1
        text = text.replace(place, f"\n{lines}{place}")
    params.write_text(text)
    run(checkout, "pets", prefect_server)
    check(checkout, "pets", "pets", (3, 64, 64))
    split = load_split(checkout / "data/prepared/pets/train.safetensors")
    assert split.images.shape == (120, 3, 64, 64) and split.labels.unique().tolist() == [0, 1]
