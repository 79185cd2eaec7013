"""The VAE: shapes, its size for a code, and what is frozen."""

import pytest
import torch

from diffusevae.core.errors import InputError
from diffusevae.core.tensor_file import load_config
from diffusevae.models.vae import VAE, encode_all, load_vae, reconstruct_all, save_vae
from diffusevae.models.vae_config import size_vae
from tests.support.toy_models import make_vae


def test_latent_is_the_image_halved_between_levels():
    vae = make_vae()
    mu, logvar = vae.encode(torch.rand(2, 1, 32, 32))
    assert mu.shape == logvar.shape == (2, 3, 8, 8) == (2, *vae.latent_shape)
    assert vae.decode(mu).shape == (2, 1, 32, 32)


@pytest.mark.parametrize(("code", "levels"), [((1, 4, 4), 3), ((2, 8, 8), 2), ((3, 16, 16), 1)])
def test_a_vae_has_the_code_that_was_asked_for(code, levels):
    config = size_vae(make_vae(attention_levels=()).config, code, 16, (1, 1, 1), 1e-6, "compress")
    assert VAE(config, (1, 16, 16)).latent_shape == code
    assert len(config.channel_multipliers) == levels and config.kl_weight == 1e-6


@pytest.mark.parametrize("code", [(1, 5, 5), (1, 2, 2), (1, 32, 32)])
def test_a_code_to_which_nothing_leads_is_refused(code):
    with pytest.raises(InputError, match=r"compress.codes: \[1, .*do not come down to"):
        size_vae(make_vae(attention_levels=()).config, code, 16, (1, 1, 1), 1e-6, "compress")


def test_colour_and_other_sizes():
    vae = make_vae(image_shape=(3, 64, 64))
    assert vae.reconstruct(torch.rand(2, 3, 64, 64)).shape == (2, 3, 64, 64)


def test_an_untrained_decoder_answers_one_half():
    assert torch.equal(make_vae().decode(torch.randn(2, 3, 8, 8)), torch.full((2, 1, 32, 32), 0.5))


def test_logvar_is_clamped():
    vae = make_vae()
    torch.nn.init.constant_(vae.encoder.layers[-1].bias, 1e4)
    assert vae.encode(torch.rand(1, 1, 32, 32))[1].max() == 20
    torch.nn.init.constant_(vae.encoder.layers[-1].bias, -1e4)
    assert vae.encode(torch.rand(1, 1, 32, 32))[1].min() == -30


@pytest.mark.parametrize("kind", ["gaussian", "vq", "rae"])
def test_what_is_told_the_class_depends_on_it(kind):
    vae = make_vae(kind=kind, num_classes=3)
    torch.nn.init.normal_(vae.decoder.layers[-1].weight)
    x = torch.rand(1, 1, 32, 32).expand(2, 1, 32, 32)
    labels = torch.tensor([0, 2])
    codes = vae.encode(x, labels)[0]
    assert not torch.allclose(codes[0], codes[1], atol=1e-3)
    first, second = vae.decode(codes[:1].expand_as(codes), labels)
    assert not torch.allclose(first, second, atol=1e-3)
    assert torch.equal(vae.reconstruct(x, labels), vae.decode(codes, labels))


def test_of_many_images_each_is_told_its_own_class():
    vae = make_vae((1, 4, 4), num_classes=3)
    torch.nn.init.normal_(vae.decoder.layers[-1].weight)
    images = torch.full((502, 1, 4, 4), 99, dtype=torch.uint8)  # more than pass at once
    labels = torch.arange(502) % 3
    for every in (encode_all, reconstruct_all):
        found = every(vae, images, labels)
        torch.testing.assert_close(found[498:501], found[:3], rtol=0, atol=1e-5)
        assert not torch.allclose(found[0], found[1], atol=1e-3)


def test_without_classes_a_vae_has_the_weights_that_it_had():
    told, plain = make_vae(num_classes=3).state_dict(), make_vae().state_dict()
    assert set(told) - set(plain) == {"encoder.told.weight", "decoder.told.weight"}
    assert torch.equal(told["encoder.layers.0.weight"], plain["encoder.layers.0.weight"])


@pytest.mark.parametrize("kind", ["gaussian", "vq", "rae"])
def test_every_kind_of_code_answers_alike(kind):
    vae = make_vae(kind=kind)
    torch.nn.init.normal_(vae.decoder.layers[-1].weight)
    x = torch.rand(2, 1, 32, 32)
    mu, logvar = vae.encode(x)
    assert mu.shape == logvar.shape == (2, *vae.latent_shape)
    assert torch.equal(vae.reconstruct(x), vae.decode(mu))
    assert vae.sample_prior(3, torch.Generator()).shape == (3, 1, 32, 32)
    if kind == "vq":
        assert torch.equal(vae.decode(mu), vae.decode(vae.codebook.quantise(mu)))


def test_the_file_of_a_gaussian_vae_names_no_option_that_is_off(tmp_path):
    save_vae(tmp_path / "vae.safetensors", make_vae())
    assert "kind" not in load_config(tmp_path / "vae.safetensors")["vae"]


@pytest.mark.parametrize("kind", ["gaussian", "vq", "rae"])
def test_a_saved_vae_comes_back_equal_and_frozen(tmp_path, kind):
    vae = make_vae(kind=kind)
    torch.nn.init.normal_(vae.decoder.layers[-1].weight)
    save_vae(tmp_path / "vae.safetensors", vae)
    loaded = load_vae(tmp_path / "vae.safetensors")
    x = torch.rand(2, 1, 32, 32)
    # the memory layout differs, and with it the last digits
    torch.testing.assert_close(
        loaded.reconstruct(x), vae.eval().reconstruct(x), atol=1e-4, rtol=1e-4
    )
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
