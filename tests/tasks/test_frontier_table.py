"""What a page of results says of the frontier, and of its choice."""

import json

import pandas as pd
import pytest
from ruamel.yaml import YAML

from diffusevae.core.errors import InputError
from tasks.dvc.excerpt import FILE
from tasks.report.frontier_table import render_choice
from tasks.report.result_tables import render_stage

CHANGES = {
    f"diffusevae_{name}_{part}": value
    for name, values in (("frechet", (0.2, -0.1, 0.45)), ("ssim", (-0.001, -0.002, 0.001)))
    for part, value in zip(("change", "low", "high"), values, strict=True)
}
CHOICE = {
    "chosen": {"sampler": "unipc", "eta": 0.0, "num_steps": 20},
    "confirmed": True,
    "confirmation": {**CHANGES, "diffusevae_ssim": 0.9, "diffusevae_ssim_non_inferior": True},
    "num_images": 1500,
    "files": {},
}


def say(tmp_path, **changes) -> str:
    path = tmp_path / "frontier_default.json"
    path.write_text(json.dumps(CHOICE | changes))
    return " ".join(render_choice(path))


def test_the_page_says_what_test_images_confirmed(tmp_path):
    text = say(tmp_path)
    assert "validation images: 20, by `unipc`. Measured once more, on 1,500 test images" in text
    assert "Fréchet distance 0.200 [−0.100, 0.450] and SSIM −0.001 [−0.002, 0.001]" in text
    assert text.endswith("Confirmed: it is the default.")
    refused = say(tmp_path, confirmed=False)
    assert refused.endswith("**Not confirmed**: the converged sampler stays the default.")
    nothing = say(tmp_path, chosen=None, confirmed=False, confirmation=None)
    assert nothing.endswith("none. The converged sampler stays the default.")
    eta = say(tmp_path, chosen={"sampler": "ddim", "eta": 1.0, "num_steps": 6})
    assert "6, by `ddim`, eta 1." in eta


def test_what_was_published_before_says_nothing_and_what_is_damaged_is_one_line(tmp_path):
    path = tmp_path / "frontier_default.json"
    assert render_choice(path) == []
    path.write_text('{"converged": {}, "sampler": null}')
    assert render_choice(path) == []
    for changes in ({"confirmation": {"diffusevae_ssim_change": 1}}, {"num_images": "many"}):
        with pytest.raises(InputError, match="frontier_default.json"):
            say(tmp_path, **changes)


def test_the_table_says_what_is_proven_and_how_much_variance_is_left(tmp_path):
    row = CHANGES | {
        "sampler": "unipc",
        "eta": 0.0,
        "num_steps": 20,
        "diffusevae_frechet": 11.0,
        "diffusevae_frechet_converged": 10.0,
        "diffusevae_diversity": 0.8,
        "diffusevae_diversity_low": 0.75,
        "diffusevae_diversity_high": 0.85,
        "diffusevae_ssim_non_inferior": True,
        "frechet_net_ratio": 1.18,
    }
    rows = [row | {"diffusevae_frechet_non_inferior": passed} for passed in (True, False)]
    pd.DataFrame(rows).to_csv(tmp_path / "frontier_frontier.csv", index=False)
    section = {
        "converged_steps": 100,
        "num_images": 500,
        "margins": {"ssim": 0.005, "frechet": 0.5},
    }
    entry = {"frontier@toy": {"params": {"params.yaml": {"experiments.toy.frontier": section}}}}
    with open(tmp_path / FILE, "w") as file:
        YAML().dump(entry, file)
    lines = render_stage("frontier", tmp_path)
    assert any("lose less than 0.5 of Fréchet distance and 0.005 of SSIM" in line for line in lines)
    proven, not_proven = [line for line in lines if line.startswith("| unipc")]
    assert proven.endswith("| proven | 0.80 [0.75, 0.85] |")
    assert not_proven.endswith("| not proven | 0.80 [0.75, 0.85] |")
    assert "| 1.180 |" in proven
    equal = pd.DataFrame(rows).assign(frechet_net_ratio=float("nan"))
    equal.to_csv(tmp_path / "frontier_frontier.csv", index=False)
    assert any("| 20 | – |" in line for line in render_stage("frontier", tmp_path))
    damaged = pd.DataFrame(rows).astype({"diffusevae_ssim_non_inferior": object})
    damaged.loc[0, "diffusevae_ssim_non_inferior"] = "perhaps"
    damaged.to_csv(tmp_path / "frontier_frontier.csv", index=False)
    with pytest.raises(InputError, match="diffusevae_ssim_non_inferior must hold true or false"):
        render_stage("frontier", tmp_path)
