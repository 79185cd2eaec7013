"""The diffusion model: forward process, conversions between predictions, loss, guidance."""

import pytest
import torch

from diffusevae.core.errors import InputError
from diffusevae.core.randomness import generator
from diffusevae.core.tensor_file import load_config, save_tensors
from diffusevae.models.conditions import GREY, hide
from diffusevae.models.diffusion import check_pair, draw_noise, load_diffusion, save_diffusion
from tests.support.toy_models import make_diffusion


@pytest.mark.parametrize("prediction", ["eps", "v", "x0", "flow"])
def test_split_inverts_target_at_every_timestep(prediction):
    model = make_diffusion(prediction)
    x_0, eps = torch.randn(50, 1, 4, 4), torch.randn(50, 1, 4, 4)
    t = torch.arange(50)
    x_t = model.add_noise(x_0, t, eps)
    found_x_0, found_eps = model.split(x_t, t, model.target(x_0, t, eps))
    # dividing by a small sqrt(bar_alpha) or sqrt(1 - bar_alpha) loses digits at the ends
    torch.testing.assert_close(found_x_0[:-5], x_0[:-5], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found_eps, eps, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("prediction", ["v", "x0", "flow"])
def test_where_all_is_noise_nothing_is_divided_by_zero(prediction):
    model = make_diffusion(prediction, scheduler_type="flow")
    x_0, eps, t = torch.randn(1, 1, 4, 4), torch.randn(1, 1, 4, 4), torch.tensor([49])
    x_t = model.add_noise(x_0, t, eps)
    assert torch.equal(x_t, eps)  # bar_alpha is 0
    for found, true in zip(model.split(x_t, t, model.target(x_0, t, eps)), (x_0, eps), strict=True):
        torch.testing.assert_close(found, true)


def test_a_flow_s_network_sees_the_straight_line_and_predicts_its_direction():
    model = make_diffusion("flow", scheduler_type="flow").eval()
    x_0, eps = torch.rand(2, 1, 16, 16), torch.randn(2, 1, 16, 16)
    t = torch.tensor([9, 49])
    u = torch.tensor([0.2, 1.0])[:, None, None, None]  # (t + 1) / T
    seen = []
    model.unet.register_forward_pre_hook(lambda unet, inputs: seen.append(inputs[0]))
    model.network(model.add_noise(x_0, t, eps), t)
    torch.testing.assert_close(seen[0], (1 - u) * x_0 + u * eps)
    torch.testing.assert_close(model.target(x_0, t, eps), eps - x_0)


@pytest.mark.parametrize(
    ("prediction", "changes", "said"),
    [
        ("eps", {"scheduler_type": "flow"}, r"prediction eps: the schedule \(flow\) ends in noise"),
        ("eps", {"zero_terminal_snr": True}, r"eps: the schedule \(zero_terminal_snr\) ends in"),
        ("v", {"zero_terminal_snr": True, "min_snr_gamma": 5.0}, "min_snr_gamma: the schedule"),
        ("flow", {"scheduler_type": "flow", "min_snr_gamma": 5.0}, "min_snr_gamma: the schedule"),
        ("v", {"vlb_weighted": True, "min_snr_gamma": 5.0}, "both weigh timesteps; leave one out"),
    ],
)
def test_what_makes_no_sense_together_is_refused(prediction, changes, said):
    with pytest.raises(ValueError, match=said):
        make_diffusion(prediction, **changes)


def test_a_schedule_is_rescaled_where_asked():
    plain = make_diffusion("v", scheduler_type="linear").schedule
    model = make_diffusion("v", scheduler_type="linear", zero_terminal_snr=True)
    assert model.schedule.alpha_bars[-1] == 0 and plain.alpha_bars[-1] > 0.5
    assert model.schedule.alpha_bars[0] == pytest.approx(plain.alpha_bars[0])
    x = torch.rand(4, 1, 16, 16)
    losses = model.losses(x, torch.full((4,), 49), torch.randn_like(x))
    assert all(loss.isfinite() for loss in losses.values())


@pytest.mark.parametrize("prediction", ["eps", "v", "x0", "flow"])
def test_min_snr_weighs_the_error_of_x_0_alike_whatever_is_predicted(prediction):
    """A network that answers zero: the loss must be min(SNR, gamma) |x_0 - predicted x_0|^2."""
    model = make_diffusion(prediction, min_snr_gamma=0.5)
    torch.nn.init.zeros_(model.unet.conv_out.weight)
    x, eps = torch.rand(3, 1, 16, 16), torch.randn(3, 1, 16, 16)
    for t in (2, 25, 40):  # SNR 124, 0.95, 0.096
        times = torch.full((3,), t)
        alpha_bar = float(model.schedule.alpha_bars[t])
        x_0 = model.to_diffusion_range(x)
        x_t = model.add_noise(x_0, times, eps)
        predicted, _ = model.split(x_t, times, torch.zeros_like(x_t))
        error = float((predicted - x_0).square().mean())
        expected = min(alpha_bar / (1 - alpha_bar), 0.5) * error
        assert model.losses(x, times, eps)["loss"].item() == pytest.approx(expected, rel=1e-4)


def test_forward_process_has_the_mean_and_variance_of_the_closed_form():
    model = make_diffusion()
    t = torch.full((20_000,), 20)
    x_0 = torch.full((20_000, 1, 1, 1), 0.7)
    x_t = model.add_noise(x_0, t, torch.randn(20_000, 1, 1, 1, generator=generator(0)))
    alpha_bar = float(model.schedule.alpha_bars[20])
    assert float(x_t.mean()) == pytest.approx(alpha_bar**0.5 * 0.7, abs=0.02)
    assert float(x_t.var()) == pytest.approx(1 - alpha_bar, rel=0.03)


@pytest.mark.parametrize("image_range, black", [("centred", -1.0), ("unit", 0.0)])
def test_images_are_diffused_in_the_configured_range(image_range, black):
    model = make_diffusion(image_range=image_range)
    assert float(model.to_diffusion_range(torch.tensor(0.0))) == black
    assert float(model.to_diffusion_range(torch.tensor(1.0))) == 1
    x = torch.rand(2, 1, 4, 4)
    torch.testing.assert_close(model.to_unit_range(model.to_diffusion_range(x)), x)


@pytest.mark.parametrize("prediction", ["eps", "v", "x0", "flow"])
def test_the_loss_of_a_network_that_answers_zero_is_the_power_of_its_target(prediction):
    model = make_diffusion(prediction)
    torch.nn.init.zeros_(model.unet.conv_out.weight)
    x = torch.rand(8, 1, 16, 16)
    t, eps = draw_noise(x.shape, 50, generator(1))
    target = model.target(model.to_diffusion_range(x), t, eps)
    losses = model.losses(x, t, eps)
    torch.testing.assert_close(losses["loss"], target.square().mean())
    if prediction == "eps":
        torch.testing.assert_close(losses["noise_mse"], losses["loss"].detach())


@pytest.mark.parametrize(
    ("open_ends", "answer", "errors"),  # of a black, a grey and a white pixel: x_0 = -1, 0, 1
    [
        (False, -1.5, (0.5, 1.5, 2.5)),
        (True, -1.5, (0, 1.5, 2.5)),
        (False, 1.5, (2.5, 1.5, 0.5)),
        (True, 1.5, (2.5, 1.5, 0)),
        (True, -0.5, (0.5, 0.5, 1.5)),
    ],
)
def test_open_ends_forgive_only_what_lies_beyond_the_true_end(open_ends, answer, errors):
    model = make_diffusion("x0", open_ends=open_ends)
    torch.nn.init.zeros_(model.unet.conv_out.weight)
    torch.nn.init.constant_(model.unet.conv_out.bias, answer)
    for value, error in zip((0.0, 0.5, 1.0), errors, strict=True):
        x = torch.full((4, 1, 16, 16), value)
        t, eps = torch.full((4,), 20), torch.randn(4, 1, 16, 16, generator=generator(2))
        losses = model.losses(x, t, eps)
        snr = float(model.schedule.alpha_bars[20] / (1 - model.schedule.alpha_bars[20]))
        assert losses["loss"].item() == pytest.approx(error**2, abs=1e-6)
        assert float(losses["noise_mse"]) == pytest.approx(error**2 * snr, rel=1e-4, abs=1e-6)


def test_a_hidden_condition_is_grey_which_is_all_that_the_network_is_told():
    model = make_diffusion(conditional=True).eval()
    x, x_hat = torch.rand(2, 1, 16, 16), torch.rand(2, 1, 16, 16)
    t, eps = draw_noise(x.shape, 50, generator(1))
    with_none = model.losses(x, t, eps, torch.full_like(x, GREY))["loss"]
    all_hidden = model.losses(x, t, eps, hide(x_hat, torch.tensor([True, True])))["loss"]
    one_hidden = model.losses(x, t, eps, hide(x_hat, torch.tensor([True, False])))["loss"]
    assert torch.equal(with_none, all_hidden)
    assert not torch.equal(one_hidden, all_hidden)


def test_guidance_extrapolates_and_zero_is_the_conditional_model_bit_for_bit():
    model = make_diffusion(conditional=True).eval()
    x, x_hat, t = torch.randn(2, 1, 16, 16), torch.rand(2, 1, 16, 16), torch.tensor([3, 40])
    conditional = model.unet(x, t, 2 * x_hat - 1)
    none = model.unet(x, t, torch.zeros_like(x))
    assert torch.equal(model.network(x, t, x_hat, guidance=0.0), conditional)
    torch.testing.assert_close(model.network(x, t, x_hat, guidance=2.0), 3 * conditional - 2 * none)


def test_the_forward_process_does_not_use_x_hat():
    """Formulation 1 (docs/study.md, 4): with a network that answers zero, x_hat changes nothing."""
    model = make_diffusion(conditional=True)
    torch.nn.init.zeros_(model.unet.conv_out.weight)
    x = torch.rand(4, 1, 16, 16)
    t, eps = draw_noise(x.shape, 50, generator(1))
    losses = [model.losses(x, t, eps, x_hat)["loss"] for x_hat in (x, 1 - x)]
    assert torch.equal(*losses)


@pytest.mark.parametrize("image_range", ["centred", "unit"])
def test_in_formulation_2_the_network_sees_the_shifted_image(image_range):
    """x_t = sqrt(abar) x_0 + x_hat + sqrt(1 - abar) eps (docs/study.md, 4); a hidden x_hat is 0."""
    model = make_diffusion(image_range=image_range, conditional=True, fuse=("shift",)).eval()
    x_0, eps, x_hat = (torch.rand(2, 1, 16, 16, generator=generator(i)) for i in range(3))
    t = torch.tensor([3, 40])
    seen = []
    model.unet.register_forward_pre_hook(lambda unet, inputs: seen.append(inputs[0]))
    model.network(model.add_noise(x_0, t, eps), t, x_hat)
    a, s = (
        values[t].sqrt().float()[:, None, None, None]
        for values in (model.schedule.alpha_bars, 1 - model.schedule.alpha_bars)
    )
    shift = 2 * x_hat - 1 if image_range == "centred" else x_hat
    torch.testing.assert_close(seen[0], a * x_0 + shift + s * eps)
    plain = make_diffusion(image_range=image_range, conditional=True, fuse=("in",)).eval()
    assert len(list(model.parameters())) < len(list(plain.parameters()))


def test_what_is_written_of_a_model_has_no_option_that_is_off(tmp_path):
    """So files of today and of yesterday are the same bytes."""
    save_diffusion(tmp_path / "model.safetensors", make_diffusion(conditional=True))
    config = load_config(tmp_path / "model.safetensors")
    names = "scheduler_type num_timesteps beta_start beta_end prediction image_range open_ends"
    assert list(config["diffusion"]) == sorted(names.split())
    assert list(config) == sorted(
        ["image_shape", "diffusion", "unet", "conditional", "p_uncond", "vae_sha256"]
    )


def test_a_model_that_is_given_codes_comes_back(tmp_path):
    path = tmp_path / "model.safetensors"
    model = make_diffusion(conditional=True, condition_channels=3).eval()
    save_diffusion(path, model)
    x, t, code = torch.rand(2, 1, 16, 16), torch.tensor([3, 40]), torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(load_diffusion(path).network(x, t, code), model.network(x, t, code))


def test_a_saved_model_comes_back_equal_and_names_its_vae(tmp_path):
    path = tmp_path / "model.safetensors"
    model = make_diffusion(conditional=True).eval()
    model.p_uncond = 0.25
    save_diffusion(path, model, vae_sha256="abc")
    x, t = torch.rand(2, 1, 16, 16), torch.tensor([3, 40])
    torch.testing.assert_close(load_diffusion(path).network(x, t, x), model.network(x, t, x))
    assert load_config(path)["vae_sha256"] == "abc" and load_diffusion(path).p_uncond == 0.25


def test_beta_end_must_be_above_beta_start():
    with pytest.raises(ValueError, match="beta_end 0.001 must be above beta_start 0.01"):
        make_diffusion(beta_start=0.01, beta_end=0.001)


def test_a_pair_that_does_not_belong_together_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_tensors(path, {}, {"vae_sha256": "a" * 64})
    check_pair(path, "a" * 64)
    with pytest.raises(InputError, match="trained on the VAE aaaaaaaaaaaa, not on bbbbbbbbbbbb"):
        check_pair(path, "b" * 64)
