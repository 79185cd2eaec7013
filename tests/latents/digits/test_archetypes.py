"""Archetypes of codes that are known."""

import torch

from diffusevae.latents.digits.archetypes import Archetypes, find_class_archetypes
from diffusevae.latents.models.beta_vae import VectorVAE, VectorVAEConfig


def test_an_archetype_is_the_mean_code_of_its_class_and_recognises_it():
    mu = torch.tensor([[0.0, 0.0], [2.0, 0.0], [10.0, 10.0]])
    model = VectorVAE(VectorVAEConfig(2, (), (4,), "mse", 1.0, "mean"), (1, 2, 2))
    found = find_class_archetypes(model, mu, torch.tensor([7, 7, 4]))
    assert found.labels.tolist() == [4, 7]
    torch.testing.assert_close(found.codes, torch.tensor([[10.0, 10.0], [1.0, 0.0]]))
    with torch.inference_mode():
        torch.testing.assert_close(found.images, model.decode(found.codes))
    assert found.recognise(torch.tensor([[9.0, 9.0], [0.0, 1.0]]), "codes").tolist() == [4, 7]
    by_pixels = Archetypes(found.codes, torch.tensor([[[[0.0]]], [[[1.0]]]]), found.labels)
    assert by_pixels.recognise(torch.tensor([[[[0.9]]], [[[0.2]]]]), "images").tolist() == [7, 4]
