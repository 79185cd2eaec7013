"""What a training is shown of images that it mirrors at random, and that it goes on as it began."""

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

import diffusevae.training.checkpointer
from diffusevae.data.dataset import Split
from diffusevae.models.classifier import ClassifierConfig
from diffusevae.models.diffusion_config import DiffusionConfig
from diffusevae.models.vae import reconstruct_all
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.classifier_training import fit_classifier
from diffusevae.training.diffusion_training import fit_diffusion, make_images
from diffusevae.training.loop import Callbacks
from diffusevae.training.vae_training import fit_vae
from tests.support.toy_models import make_unet_config, make_vae
from tests.support.toy_trainings import make_optimiser

COUNT = 12
CONFIG = DiffusionConfig("cosine", 100, 1e-4, 0.02, "v", "centred", True)
OPTIMISER = make_optimiser(learning_rate=5e-3, ema_decay=0.5)


@pytest.fixture
def split() -> Split:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(256, (COUNT, 1, 16, 16), dtype=torch.uint8, generator=rng)
    return Split(images, torch.arange(COUNT) % 3, torch.arange(COUNT), flips=True)


@pytest.fixture
def passed():
    """The images that came into a network's first convolution in training, one after the other."""
    seen: list[torch.Tensor] = []

    def look(module: nn.Module, inputs: tuple) -> None:
        if isinstance(module, nn.Conv2d) and module.in_channels == 1 and torch.is_grad_enabled():
            seen.extend(inputs[0].detach())

    handle = register_module_forward_pre_hook(look)
    yield seen
    handle.remove()


def test_what_is_told_of_a_mirrored_image_is_of_the_mirrored_image(split):
    """x_hat is what the VAE makes of it, which is not the mirrored x_hat."""
    vae = make_vae((1, 16, 16)).eval()
    nn.init.normal_(vae.decoder.layers[-1].weight)  # else x_hat is grey
    images = make_images(split, make_unet_config(labels=True), torch.device("cpu"), vae, True)
    mirrored = split.images.flip(-1)
    assert torch.equal(images.x, torch.cat([split.images, mirrored]))
    assert torch.equal(images.x, split.shown)
    torch.testing.assert_close(images.condition[COUNT:], reconstruct_all(vae, mirrored))
    assert not torch.allclose(images.condition[COUNT:], images.condition[:COUNT].flip(-1))
    assert images.labels.tolist() == 2 * split.labels.tolist() and images.num_classes == 3
    plain = make_images(split, make_unet_config(), torch.device("cpu"), vae)
    assert len(plain.x) == len(plain.condition) == COUNT and not plain.flips


@pytest.mark.parametrize("kind", ["gaussian", "rae", "vq", "classifier"])
def test_a_network_is_shown_each_image_as_it_is_or_mirrored_half_of_the_time(split, passed, kind):
    images, both = split.images, (split.images, split.labels)
    if kind == "classifier":
        config = ClassifierConfig(8, 8, 0.0, 4)
        fit_classifier(config, OPTIMISER, both, both, 0, Callbacks(), flips=True)
    else:
        vae = make_vae((1, 16, 16), kind=kind).config
        fit_vae(vae, OPTIMISER, images, images, 4, 0, Callbacks(), flips=True)
    rows = torch.stack(passed)
    rows = (255 * ((rows + 1) / 2 if rows.min() < 0 else rows)).round().byte()
    as_is = (rows[:, None] == images).flatten(2).all(2)
    turned = (rows[:, None] == images.flip(-1)).flatten(2).all(2)
    assert (as_is | turned).sum(0).tolist() == COUNT * [4]  # once in each epoch
    assert 12 < turned.sum() < 36  # of 48


def test_a_training_with_flips_that_is_stopped_ends_with_the_same_bytes(
    split, tmp_path, monkeypatch
):
    monkeypatch.setattr(diffusevae.training.checkpointer, "SECONDS_BETWEEN", 0)
    unet = make_unet_config(blocks_per_level=1)

    def train(checkpointer=None, stop=0, flips=True):
        def on_batch(epoch: int, done: int, total: int, epochs: int) -> None:
            if (epoch, done) == (2, stop):
                raise KeyboardInterrupt

        images = make_images(split, unet, torch.device("cpu"), None, flips)
        held_out = make_images(split, unet, torch.device("cpu"))
        told = Callbacks(on_batch=on_batch), checkpointer
        return fit_diffusion(CONFIG, unet, OPTIMISER, images, held_out, 2, 0.0, 0, *told)

    model, history = train()
    with pytest.raises(KeyboardInterrupt):
        train(Checkpointer(tmp_path, print), stop=2)
    resumed, resumed_history = train(Checkpointer(tmp_path, print))
    assert resumed_history == history
    assert all(torch.equal(w, resumed.state_dict()[n]) for n, w in model.state_dict().items())
    assert train(flips=False)[1] != history
