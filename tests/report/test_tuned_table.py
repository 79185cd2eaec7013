"""The study's tuned values beside ours, where the data are the study's."""

import pytest

from diffusevae.report.reference_study import TUNED
from diffusevae.report.tuned_table import list_tuned

PARAMS = {
    "dataset": "mnist",
    "vae": {"kl_weight": 1e-5},
    "diffusion": {"scheduler_type": "cosine", "num_timesteps": 1000, "beta_end": 0.02},
    "diffusion_optimiser": {"learning_rate": 2e-3, "batch_size": 32},
    "unet": {"num_heads": 4, "time_emb_dim": 64},
}
BEST = {"tune_vae": {"vae": {"kl_weight": 2e-6}}, "tune_ddpm": {"unet": {"num_heads": 2}}}
TRIALS = {"tune_vae": 25, "tune_ddpm": 20}


@pytest.mark.parametrize("source", ["mnist", "fashion_mnist"])
def test_the_study_s_values_stand_beside_ours_on_its_data_sets(source):
    vae, ddpm = list_tuned(source, PARAMS, BEST, TRIALS)
    assert (vae.model, vae.num_trials, vae.has_study) == ("VAE", 25, True)
    assert vae.rows == (("vae.kl_weight", "1e-05", "2e-06", "not given"),)
    rows = {row[0]: row[1:] for row in ddpm.rows}
    assert rows["unet.num_heads"] == ("4", "2", "4")
    assert rows["diffusion.scheduler_type"] == ("cosine", "not searched", "linear")
    assert rows["diffusion.beta_end"] == ("0.02", "not searched", "0.024")
    # params.yaml without such a key, and all digits that the study prints
    assert rows["diffusion.beta_start"] == ("not given", "not searched", "0.0001")
    assert rows["diffusion_optimiser.learning_rate"] == ("0.002", "not searched", "0.000374048")
    assert rows.keys() == TUNED["tune_ddpm"].keys()


def test_other_data_have_no_column_of_the_study_s():
    vae, ddpm = list_tuned("cifar10", PARAMS, BEST, TRIALS)
    assert not vae.has_study and not ddpm.has_study
    assert ddpm.rows == (("unet.num_heads", "4", "2"),)


def test_without_trials_only_the_study_chose():
    _, ddpm = list_tuned("mnist", PARAMS, {"tune_vae": {}, "tune_ddpm": {}}, TRIALS)
    assert len(ddpm.rows) == 8 and {row[2] for row in ddpm.rows} == {"not searched"}
