"""The stage of spectra, whole at its smallest size."""

import dataclasses
import shutil

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from diffusevae.core.errors import InputError
from diffusevae.latents.models.beta_vae import load_vector_vae
from diffusevae.latents.page.chapter import read_chapter
from diffusevae.latents.spectra.recognition import METHODS
from diffusevae.stages import spectra as stage
from diffusevae.tracking.stage_logger import StageLogger
from tests.support.real_data import raw_folder


def test_the_stage_is_reproducible_and_goes_on_after_a_kill(tmp_path, monkeypatch, smoke):
    monkeypatch.chdir(tmp_path)

    class Stopping(StageLogger):
        def trial(self, number, values):
            if number == "1-fold0":
                raise KeyboardInterrupt
            return super().trial(number, values)

    source = raw_folder("raman")
    outs = [tmp_path / "one", tmp_path / "two"]
    stage.run(smoke, source=source, out=outs[0], log=StageLogger())
    with pytest.raises(KeyboardInterrupt):
        stage.run(smoke, source=source, out=outs[1], log=Stopping())
    assert list((tmp_path / "scratch/progress").glob("*"))
    stage.run(smoke, source=source, out=outs[1], log=StageLogger())
    files = [sorted(path.name for path in out.iterdir()) for out in outs]
    assert files[0] == files[1]
    for name in files[0]:
        assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes(), name
    assert not list((tmp_path / "scratch/progress").glob("*"))

    chapter = read_chapter(outs[0])
    assert {claim.source.split()[-1] for claim in chapter.claims} == {"B11", "B6", "B7"}
    accuracy = pd.read_csv(outs[0] / "accuracy.csv")
    assert len(accuracy) == 2 * len(METHODS) and (accuracy["num_spectra"] == 303).all()
    hits = pd.read_csv(outs[0] / "hits.csv")
    assert len(hits) == 303 * 2 * 2 * len(METHODS)
    model = load_vector_vae(outs[0] / "model.safetensors")
    archetypes = load_file(outs[0] / "archetypes.safetensors")
    assert torch.allclose(model.decode(archetypes["codes"]), archetypes["pseudo_spectra"])
    assert archetypes["pseudo_spectra"].shape == (27, 1, 1000)


def test_the_stage_refuses_a_length_that_cannot_be_halved(tmp_path, monkeypatch, smoke):
    monkeypatch.chdir(tmp_path)
    vae = dataclasses.replace(smoke.spectra.vae, channels=(2, 2, 2, 2))
    params = type(smoke)(**vars(smoke) | {"spectra": dataclasses.replace(smoke.spectra, vae=vae)})
    shutil.copytree(raw_folder("raman"), tmp_path / "raman")
    with pytest.raises(InputError, match="1000 cannot be halved 4 times"):
        stage.run(params, source=tmp_path / "raman", out=tmp_path / "out", log=StageLogger())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seeds": ()}, "seeds: expected one or more"),
        ({"seeds": (1, 0)}, "seeds: .*rising"),
        ({"noise_levels": (0.1, 0.1)}, "noise_levels: .*each once"),
    ],
)
def test_impossible_studies_are_refused(smoke, changes, reason):
    with pytest.raises(ValueError, match=reason):
        dataclasses.replace(smoke.spectra, **changes)
