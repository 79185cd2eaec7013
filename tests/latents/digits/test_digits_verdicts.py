"""Verdicts on what the beta-VAE study claims."""

import pandas as pd
import pytest

from diffusevae.latents.digits.digits_verdicts import judge_neuron


def test_the_dominant_neuron_is_judged_by_every_seed():
    def table(leaders):
        rows = [
            {"seed": seed, "latent": i, "kl": float(i == leader), "pixels": float(i == leader)}
            for seed, leader in enumerate(leaders)
            for i in range(10)
        ]
        return pd.DataFrame(rows)

    assert judge_neuron(table([3] * 5))["verdict"] == "holds"
    assert judge_neuron(table([2] * 5))["verdict"] == "holds"  # counted from 1
    failed = judge_neuron(table([3, 3, 0, 1, 9]))
    assert (failed["verdict"], failed["hits"], failed["num_seeds"]) == ("fails", 2, 5)
    # Two or more of five at one chance in ten: 1 - 0.9^5 - 5 x 0.1 x 0.9^4.
    assert failed["by_chance"] == pytest.approx(1 - 0.9**5 - 0.5 * 0.9**4)
