"""PCA against its definition and the known values; VAE against PCA on a toy data set."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA as SklearnPCA

from diffusevae.data.dataset import to_unit
from diffusevae.data.idx import read_idx_set
from diffusevae.data.resizing import resize
from diffusevae.models.pca import fit_pca
from diffusevae.models.vae import VAEConfig
from diffusevae.stages import compress as stage
from diffusevae.studies.compression.compression_study import (
    CompressConfig,
    compare_codes,
    measure_restored,
)
from diffusevae.tracking.stage_logger import StageLogger
from diffusevae.training.loop import OptimiserConfig
from tests.support.real_data import raw_folder
from tests.support.toy_splits import write_split

CONFIG = CompressConfig(((1, 4, 4), (2, 8, 8)), (0, 1), (1, 1, 1), 1e-6, (1, 1), 12, 6)
VAE_CONFIG = VAEConfig(8, 4, (1, 2), (), 0.0, "mse", 1e-3)


@pytest.mark.parametrize(
    ("dataset", "known"),
    [
        ("mnist", {16: (0.0180, 0.594), 64: (0.0040, 0.803)}),
        ("fashion_mnist", {16: (0.0131, 0.566), 64: (0.0052, 0.745)}),
    ],
)
def test_pca_of_the_real_data_has_the_known_errors(dataset, known):
    """Known from an independent computation: docs/study.md, section 7."""
    sets = [
        resize(read_idx_set(raw_folder(dataset), part)[0], 32, "bilinear", False)
        for part in ("train", "t10k")
    ]
    pca, test = fit_pca(sets[0]), sets[1][::5]  # the halves of MNIST's differ
    for numbers, (mse, ssim) in known.items():
        values = measure_restored(to_unit(test), pca.reconstruct(test, numbers))
        assert values["mse"].mean() == pytest.approx(mse, rel=0.03)
        assert values["ssim"].mean() == pytest.approx(ssim, abs=0.01)


def test_pca_agrees_with_scikit_learn_s():
    images = torch.randint(256, (60, 3, 4, 4), dtype=torch.uint8)
    flat = to_unit(images).flatten(1).double().numpy()
    reference = SklearnPCA(5, svd_solver="full").fit(flat)
    expected = reference.inverse_transform(reference.transform(flat)).clip(0, 1)
    restored = fit_pca(images).reconstruct(images, 5).flatten(1).numpy()
    assert np.abs(restored - expected).max() < 1e-6
    every = fit_pca(images).reconstruct(images, 48)
    assert torch.allclose(every, to_unit(images), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epochs": (1,)}, "epochs: 1 numbers for 2 codes"),
        ({"seeds": (1, 1)}, "seeds: .*each once"),
        ({"codes": (), "epochs": ()}, "codes: expected one or more"),
        ({"codes": ((1, 4, 8),), "epochs": (1,)}, r"\[1, 4, 8\] is not \[Cz, h, w\]"),
    ],
)
def test_impossible_comparisons_are_refused(changes, reason):
    with pytest.raises(ValueError, match=reason):
        dataclasses.replace(CONFIG, **changes)


def test_the_row_pairs_images_and_knows_which_side_is_better():
    rng = np.random.default_rng(0)
    hard = rng.random(200)  # how hard an image is, for both
    pca = {"mse": 1 + hard, "ssim": 0.5 - hard / 4}
    vaes = [{"mse": pca["mse"] - 0.1, "ssim": pca["ssim"] + d} for d in (-0.2, 0.1)]
    row = compare_codes(pca, vaes, seed=0, num_resamples=100)
    assert row["mse_change"] == pytest.approx(-0.1) and row["mse_high"] == pytest.approx(-0.1)
    assert row["mse_vae_better"] is True and row["num_seeds"] == 2
    assert row["ssim_change"] == pytest.approx(-0.05) and row["ssim_worst"] == pytest.approx(-0.2)
    assert row["ssim_vae_better"] is False
    assert row["mse_vae"] == pytest.approx(row["mse_pca"] - 0.1)


def test_the_stage_trains_every_code_with_every_seed_and_resumes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = {name: tmp_path / name for name in ("train", "validation", "test")}
    for seed, (path, count) in enumerate(zip(paths.values(), (20, 8, 9), strict=True)):
        write_split(path, count, seed)
    params = SimpleNamespace(
        key="toy",
        seed=0,
        vae=VAE_CONFIG,
        compress=CONFIG,
        vae_optimiser=OptimiserConfig(1e-3, "none", 4, 1.0, 0.9),
    )

    class Stopping(StageLogger):
        def trial(self, number, values):
            if number == "2x8x8-0":
                raise KeyboardInterrupt
            return super().trial(number, values)

    stage.run(params, **paths, out=tmp_path / "out", log=StageLogger())
    with pytest.raises(KeyboardInterrupt):
        stage.run(params, **paths, out=tmp_path / "again", log=Stopping())
    stage.run(params, **paths, out=tmp_path / "again", log=StageLogger())
    runs = pd.read_csv(tmp_path / "out/runs.csv")
    assert runs["model"].tolist() == ["PCA", "VAE", "VAE"] * 2
    assert runs["numbers"].tolist() == [16] * 3 + [128] * 3
    assert runs["mse"].nunique() == 6
    table = pd.read_csv(tmp_path / "out/table.csv").set_index("code")
    shown = json.loads((tmp_path / "out/metrics.json").read_text())
    assert list(shown) == list(table.index) and len(shown) == 2
    for code, row in shown.items():
        assert len(row) == 6 and row == pytest.approx(table.loc[code, list(row)].to_dict())
    for file in ("runs.csv", "table.csv", "metrics.json", "table.png", "images.png"):
        assert (tmp_path / "out" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
    assert not list((tmp_path / "scratch/progress").glob("*"))
