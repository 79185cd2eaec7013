"""The stage of the beta-VAE study, whole at its smallest size."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from diffusevae.latents.digits.digits_study import BetaVAEConfig
from diffusevae.latents.models.beta_vae import VectorVAEConfig, load_vector_vae
from diffusevae.latents.models.deterministic import AutoencoderConfig
from diffusevae.latents.page.chapter import read_chapter
from diffusevae.models.classifier import Classifier, ClassifierConfig, save_classifier
from diffusevae.stages import beta_vae as stage
from diffusevae.tracking.stage_logger import StageLogger
from diffusevae.training.loop import OptimiserConfig
from tests.support.toy_splits import write_split

CONFIG = BetaVAEConfig(
    VectorVAEConfig(3, (4,), (), "bce", 1.0, "sum"),
    AutoencoderConfig(4, (4,)),
    OptimiserConfig(1e-3, "none", 8, 1e6, 0.9),
    1,
    (0, 1),
    5,
    4,
    20,
    3,
    (0.0, 0.5),
)


def test_the_stage_studies_every_seed_and_resumes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = {name: tmp_path / name for name in ("train", "validation", "test")}
    for seed, (path, count) in enumerate(zip(paths.values(), (40, 8, 24), strict=True)):
        write_split(path, count, seed)
    torch.manual_seed(0)
    save_classifier(tmp_path / "judge", Classifier(ClassifierConfig(4, 8, 0.0, 1), (1, 16, 16), 10))
    params = SimpleNamespace(key="toy", seed=0, beta_vae=CONFIG)

    class Stopping(StageLogger):
        def trial(self, number, values):
            if number == "autoencoder-0":
                raise KeyboardInterrupt
            return super().trial(number, values)

    def run(folder: str, log: StageLogger) -> None:
        stage.run(params, **paths, classifier=tmp_path / "judge", out=tmp_path / folder, log=log)

    run("out", StageLogger())
    with pytest.raises(KeyboardInterrupt):
        run("again", Stopping())
    run("again", StageLogger())
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    for name in files:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert not list((tmp_path / "scratch/progress").glob("*"))
    found = read_chapter(tmp_path / "out")
    assert {part.file for part in (*found.pictures, *found.tables)} < set(files)
    cards = pd.read_csv(tmp_path / "out/cards.csv")
    assert cards["latent"].tolist() == [0, 1, 2]
    ranking = pd.read_csv(tmp_path / "out/ranking.csv")
    assert len(ranking) == 6 and (ranking.loc[ranking["seed"] == 0, "likeness"] > 0.999).all()
    table = pd.read_csv(tmp_path / "out/comparison.csv", index_col="number")
    assert table.loc["latents in use", "autoencoder"] == 4
    np.testing.assert_allclose(
        table.loc["KL in nats", "beta_vae_low"], ranking.groupby("seed")["kl"].sum().min()
    )
    assert load_vector_vae(tmp_path / "out/model.safetensors").config == CONFIG.model


@pytest.mark.parametrize("field", ["seeds", "noise_levels"])
def test_nothing_to_compare_is_refused(field):
    with pytest.raises(ValueError, match=f"{field}: expected one or more, each once"):
        BetaVAEConfig(**(vars(CONFIG) | {field: ()}))
