"""What the models make together."""

import pytest
import torch

from diffusevae.__main__ import main
from diffusevae.core.errors import InputError
from diffusevae.data.dataset import Split
from diffusevae.models.latent_mixture import Mixture
from diffusevae.sampling.generation import Models, generate, record_trajectory, refine
from diffusevae.tracking.stage_logger import StageLogger
from tests.support.toy_models import make_diffusion, make_sampler, make_vae

SAMPLER = make_sampler(num_steps=3, batch_size=4)


@pytest.fixture
def models() -> Models:
    vae = make_vae(image_shape=(1, 16, 16)).eval().requires_grad_(False)
    torch.nn.init.normal_(vae.decoder.layers[-1].weight)
    # One Gaussian without spread: every code of the "GMM" is 2.
    mixture = Mixture(torch.ones(1), torch.full((1, 48), 2.0), torch.zeros(1, 48), (3, 4, 4))
    return Models(
        vae, mixture, make_diffusion("v").eval(), make_diffusion("v", conditional=True).eval()
    )


@pytest.fixture
def test_images() -> Split:
    images = torch.randint(0, 256, (10, 1, 16, 16), dtype=torch.uint8)
    return Split(images, torch.arange(10), torch.arange(10))


def test_pairs_are_the_first_test_images_their_reconstruction_and_refinement(models, test_images):
    log = StageLogger()
    pairs = refine(models, SAMPLER, test_images, 6, 0, log)
    real = test_images.images[:6].float() / 255
    assert torch.equal(pairs["real"], real)
    torch.testing.assert_close(pairs["vae"], models.vae.reconstruct(real), atol=1e-4, rtol=1e-4)
    assert pairs["diffusevae"].shape == real.shape
    assert pairs["labels"].tolist() == list(range(6))
    assert log.timings["diffusevae_seconds_per_image"] > 0


def test_generated_images_come_from_the_prior_and_from_the_mixture(models):
    images = generate(models, SAMPLER, 5, 0, StageLogger())
    assert set(images) == {"vae_prior", "vae_gmm", "ddpm", "diffusevae_prior", "diffusevae_gmm"}
    assert all(x.shape == (5, 1, 16, 16) and 0 <= x.min() <= x.max() <= 1 for x in images.values())
    expected = models.vae.decode(torch.full((5, 3, 4, 4), 2.0))
    torch.testing.assert_close(images["vae_gmm"], expected, atol=1e-4, rtol=1e-4)
    assert images["vae_prior"].std(0).max() > 1e-3


def test_a_trajectory_goes_from_noise_to_the_finished_image(models, test_images):
    trajectory = record_trajectory(models, SAMPLER, test_images, 0)
    assert trajectory["t"].tolist() == [49, 32, 16, -1]
    assert trajectory["x_t"].shape == trajectory["x_0"].shape == (4, 8, 1, 16, 16)
    assert torch.equal(trajectory["x_t"][-1], trajectory["x_0"][-1])


def test_more_images_than_there_are_is_an_error_with_the_number(models, test_images):
    with pytest.raises(InputError, match="num_images 11: there are only 10"):
        refine(models, SAMPLER, test_images, 11, 0, StageLogger())


def test_a_picture_that_cannot_be_written_is_found_before_any_work(tmp_path, capsys):
    assert main(["smoke", "--out", str(tmp_path)]) == 3
    assert capsys.readouterr().err == f"error: {tmp_path}: is a folder; name another file\n"
