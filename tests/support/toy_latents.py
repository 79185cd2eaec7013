"""A latent study of untrained models: what its stage beta_vae writes and its page is made of."""

import json
import shutil
from pathlib import Path

import torch
from prefect.logging import disable_run_logger

from diffusevae.core.tensor_file import save_tensors
from diffusevae.data.dataset import to_unit
from diffusevae.experiments.experiment import Experiment, LatentStudy
from diffusevae.figures.drawing import Strip, draw_strips, figure_style, save_figure
from diffusevae.latents.models.beta_vae import VectorVAE, VectorVAEConfig, save_vector_vae
from diffusevae.latents.page.chapter import Chapter, Claim, Headline, Picture, Table, write_chapter
from tasks.parent_run import open_parent_run
from tasks.registry.latents import register
from tasks.registry.registration import Registered
from tests.support.checkouts import ROOT
from tests.support.toy_artifacts import SHAPE, write_models

LATENTS = 4
TOY = LatentStudy("toy_study", "toy_data", Experiment("toy", "toy_data", "mnist"), ())
SAMPLER = {
    "sampler": "ddim",
    "num_steps": 2,
    "spacing": "trailing",
    "eta": 0.0,
    "variance": "zero",
    "clip": True,
    "guidance": 0.0,
    "temperature": 1.0,
    "shared_noise": False,
    "batch_size": 8,
}
CARDS = """\
latent,kl,meaning,effect_slant,effect_slant_low,effect_slant_high
0,0.01,unused,0.1,0.0,0.2
1,2.5,slant,1.25,1.0,1.5
2,0.7,"width, class",-0.5,-0.6,-0.4
3,1.1,detail,0.0,-0.1,0.1
"""


def make_model() -> VectorVAE:
    """Return an untrained beta-VAE of 16 x 16 pixels whose latents change the image visibly."""
    torch.manual_seed(0)
    model = VectorVAE(VectorVAEConfig(LATENTS, (4,), (), "bce", 4.0, "sum"), SHAPE)
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(4)
    return model.eval().requires_grad_(False)


def make_test_images() -> torch.Tensor:
    """Return six images, uint8 6 x 1 x 16 x 16."""
    rng = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (6, *SHAPE), generator=rng).byte()


def make_chapter(**changes) -> Chapter:
    """Return a chapter with one of everything."""
    parts = {
        "title": "A toy study",
        "summary": ("First sentence.", "Second sentence."),
        "headlines": (
            Headline("a score", 0.123456, 0.1, 0.2, "median of 5 seeds"),
            Headline("a count", 7.0, None, None, "one run"),
        ),
        "claims": (Claim("slant is latent 3", "the study", "fails", "it is latent 1"),),
        "pictures": (Picture("noise.png", "Noise", "Nothing to see."),),
        "tables": (Table("cards.csv", "Cards", "What latents do."),),
    }
    return Chapter(**parts | changes)


def write_study(folder: Path, chapter: Chapter | None = None) -> Path:
    """Write what a stage of the latent studies, also beta_vae, writes; return its folder."""
    folder.mkdir(parents=True)
    model = make_model()
    save_vector_vae(folder / "model.safetensors", model)
    (folder / "cards.csv").write_text(CARDS)
    codes = torch.tensor([[0.0, 1.0, -2.0, 0.5], [3.0, 0.2, 0.0, -9.0], [1.0, 1.0, 1.0, 1.0]])
    save_tensors(
        folder / "archetypes.safetensors",
        {
            "class_codes": codes,
            "class_images": model.decode(codes),
            "class_labels": torch.tensor([2, 5, 7]),
        },
    )
    with figure_style():
        strip = Strip("Noise", to_unit(make_test_images()))
        save_figure(draw_strips([strip], 6), folder / "noise.png")
    write_chapter(folder, chapter or make_chapter())
    return folder


def write_checkout(folder: Path) -> None:
    """Write, where a test works, what the study's model is registered from."""
    for name in ("src", "constraints.txt"):
        (folder / name).symlink_to(ROOT / name)
    content = {"experiments": {"toy": {"registered_sampler": "params", "sampler": SAMPLER}}}
    (folder / "params.yaml").write_text(json.dumps(content))  # JSON is YAML
    write_models(folder / "artifacts/toy")
    write_study(folder / "artifacts/toy_study/beta_vae")
    images = make_test_images()
    save_tensors(
        folder / "data/prepared/toy_data/test.safetensors",
        {
            "images": images,
            "labels": torch.tensor([0, 0, 0, 1, 1, 2]),
            "indices": torch.arange(len(images)),
        },
    )


def register_toy() -> Registered:
    """Register the study in the store at hand."""
    with open_parent_run(TOY.name, TOY.dataset) as parent, disable_run_logger():
        return register.fn(TOY, parent.id)


def copy_store(empty_store: Path, folder: Path) -> str:
    """Put an empty MLflow store into a folder; return its address."""
    (folder / "mlflow").mkdir()
    shutil.copy(empty_store, folder / "mlflow/mlflow.db")
    return f"sqlite:///{folder / 'mlflow/mlflow.db'}"
