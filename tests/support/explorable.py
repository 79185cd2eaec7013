"""The files of a small study of latents."""

import json
from pathlib import Path

from diffusevae.core.tensor_file import save_tensors
from diffusevae.latents.models.beta_vae import save_vector_vae
from diffusevae.latents.page.exploring import FILES
from tests.support.toy_artifacts import write_models
from tests.support.toy_latents import CARDS, SAMPLER, make_model, make_test_images


def write_files(folder: Path) -> Path:
    stages = write_models(folder / "stages")
    for name in ("vae", "diffusevae"):
        (stages[f"train_{name}"] / "model.safetensors").rename(folder / FILES[name])
    save_vector_vae(folder / FILES["latents"], make_model())
    (folder / FILES["cards"]).write_text(CARDS)
    (folder / FILES["sampler"]).write_text(json.dumps(SAMPLER))
    save_tensors(folder / FILES["images"], {"images": make_test_images()})
    return folder
