"""The benchmarks count, match and order as they say. No test here asks how fast anything is."""

import dataclasses
import json
import math
import os
import shutil
import signal
import sys
from importlib.util import find_spec

import pytest
import torch
from torch import nn

from benchmarks import (
    ceilings,
    evaluation,
    gpu,
    growth,
    layers,
    precision,
    sampling,
    startup,
    topics,
    training,
)
from benchmarks.measure import Side, Spread, divide, fastest, processes, take_turns
from benchmarks.networks import (
    Network,
    count_cost,
    find_product_unet,
    find_unets,
    find_vaes,
    match_widths,
    write_plainly,
)
from benchmarks.schedulers import DiffusersView, LucidrainsView, make_scheduler
from benchmarks.setting import IMAGE_SHAPE, Setting, choose_setting
from diffusevae.core.device import LAUNCH_VARIABLE, PRECISION_VARIABLE
from diffusevae.core.errors import InputError
from diffusevae.core.tensor_file import save_tensors
from diffusevae.sampling.samplers import sample

BATCH = 4
FIRST = 2 * 32 * 32 * 8 * 1 * 9  # 1 to 8 channels, 3 x 3, at 32 x 32
SECOND = 2 * 16 * 16 * 2 * 8 * 9  # 8 to 2 channels, stride 2


@pytest.fixture
def setting() -> Setting:
    """The experiment smoke with as little work as shows anything."""
    return dataclasses.replace(choose_setting("smoke", 1), batches=1, num_images=2)


def two_convolutions() -> Network:
    return Network(
        lambda: nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 2, 3, stride=2, padding=1)
        ),
        lambda module, x: module(x),
        (8,),
    )


def test_a_cost_is_what_a_hand_counts():
    forward = count_cost(two_convolutions(), BATCH, backward=False)
    assert forward.flops == FIRST + SECOND
    assert forward.parameters == 8 * 9 + 8 + 2 * 8 * 9 + 2
    # Backward: the gradient of each weight, and of the second one's input; images need none.
    assert count_cost(two_convolutions(), BATCH).flops == 2 * FIRST + 3 * SECOND


def test_the_convolutions_of_a_network_are_listed_with_their_flops():
    shapes = ceilings.list_convolutions(two_convolutions(), BATCH)
    assert sorted(shape.flops for shape in shapes) == sorted([BATCH * FIRST, BATCH * SECOND])
    assert set(shapes.values()) == {1}


def test_the_network_written_plainly_computes_the_same_in_more_products(setting):
    network = find_product_unet(setting)
    plain = write_plainly(network)
    torch.manual_seed(0)
    ours, theirs = network.build().eval(), plain.build().eval()
    nn.init.normal_(ours.unet.conv_out.weight)
    names = [name.replace("upsample.1.", "upsample.conv.") for name in theirs.state_dict()]
    assert set(names) == set(ours.state_dict())
    theirs.load_state_dict(
        dict(zip(theirs.state_dict(), (ours.state_dict()[n] for n in names), strict=True))
    )
    x = torch.randn(2, *IMAGE_SHAPE)
    torch.testing.assert_close(plain.run(theirs, x), network.run(ours, x), rtol=1e-4, atol=1e-4)
    fewer, more = (count_cost(each, 1, backward=False) for each in (network, plain))
    assert fewer.parameters == more.parameters and fewer.flops < more.flops


def test_the_convolutions_are_nearly_all_of_the_unet(setting):
    unet = find_product_unet(setting)
    shapes = ceilings.list_convolutions(unet, 2)
    flops = sum(shape.flops * count for shape, count in shapes.items())
    assert 0.9 < flops / (2 * count_cost(unet, 2, backward=False).flops) < 1


def test_widths_are_searched_until_none_is_nearer():
    def make(widths):
        return Network(
            lambda: nn.Sequential(
                nn.Conv2d(1, widths[0], 3, padding=1), nn.Conv2d(widths[0], 2, 3, padding=1)
            ),
            lambda module, x: module(x),
            widths,
        )

    target = count_cost(make((40,)), 1, backward=False)
    assert match_widths(make, (8,), target).widths == (40,)
    assert match_widths(make, (80,), target).widths == (40,)


def test_sides_take_turns_and_the_first_turn_is_not_kept():
    order = []

    def side(name: str, seconds: list[float]) -> Side:
        def run() -> float:
            order.append(name)
            return seconds.pop(0)

        return Side(name, run)

    turns = take_turns([side("a", [9, 1, 2, 4]), side("b", [9, 2, 8, 4])], repeats=3)
    assert order == ["a", "b"] * 4
    assert turns == {"a": [1, 2, 4], "b": [2, 8, 4]}
    assert divide(turns["b"], turns["a"]) == Spread(2, 1, 4, 3)  # of 2, 4 and 1
    assert fastest(turns, ["b", "a"]) == "a"


def test_a_peer_that_is_not_installed_is_left_out_and_named(setting, monkeypatch, capsys):
    for package in ("diffusers", "denoising_diffusion_pytorch", "pythae"):
        monkeypatch.setitem(sys.modules, package, None)
    assert list(find_unets(setting)) == ["product", "plain"]
    assert list(find_vaes(setting)) == ["product", "plain"]
    said = capsys.readouterr().out
    assert all(
        f"{package}: left out" in said
        for package in ("diffusers", "denoising-diffusion-pytorch", "pythae")
    )


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("unet", "product"),
        ("unet", "plain-loop"),
        ("unet", "diffusers"),
        ("unet", "diffusers-channels-last"),
        ("unet", "denoising-diffusion-pytorch"),
        ("vae", "product"),
        ("vae", "plain-loop"),
        ("vae", "diffusers"),
        ("vae", "diffusers-channels-last"),
        ("vae", "pythae"),
    ],
)
def test_every_training_calls_back_after_each_batch(setting, kind, name):
    package, train = training.TRAININGS[kind][name]
    if package not in ("product", "plain"):
        pytest.importorskip(package.replace("-", "_"))
    widths = (8, 8, 8, 8) if package == "denoising-diffusion-pytorch" else (8, 8, 8)
    prepared, network = training.prepare_training(setting, kind, name, {package: widths})
    assert prepared is train
    called = []
    train(setting, network, lambda: called.append(name))
    assert len(called) == training.WARM_UP + setting.batches


def test_a_trained_side_s_seconds_are_those_of_one_image(setting, monkeypatch):
    moments = iter([0.0, 1.0, 3.0])  # the ends of two batches to warm up and of one that counts
    monkeypatch.setattr(training, "clock", lambda device: next(moments))
    monkeypatch.setitem(
        training.TRAININGS["unet"],
        "toy",
        ("product", lambda setting, network, on_batch: [on_batch() for _ in range(3)]),
    )
    networks = {"product": find_product_unet(setting)}
    side = training.make_side(
        setting, "unet", "toy", networks, lambda function, *arguments: function(*arguments)
    )
    assert side.run() == 2.0 / training.batch_size_of(setting, "unet")


def test_each_side_has_a_process_of_its_own():
    with processes(["a", "b"]) as calls:
        ids = {name: {call(os.getpid) for _ in range(2)} for name, call in calls.items()}
    assert all(len(of_one) == 1 for of_one in ids.values())
    assert len(set.union({os.getpid()}, *ids.values())) == 3


def test_both_precisions_are_trained_on_the_prepared_images(setting, monkeypatch, tmp_path):
    monkeypatch.setattr(precision, "EPOCHS", 1)
    monkeypatch.setenv(PRECISION_VARIABLE, "float32")
    shutil.copy("params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data/prepared/mnist_tiny"  # where dvc.yaml has `prepare` write
    folder.mkdir(parents=True)
    images = torch.randint(256, (64, *IMAGE_SHAPE), dtype=torch.uint8)
    count = torch.arange(len(images))
    save_tensors(
        folder / "train.safetensors", {"images": images, "labels": count % 10, "indices": count}, {}
    )
    ratios = precision.measure(setting)
    for kind in precision.KINDS:
        rounding = ratios[f"{kind}_last_loss_of_float32_vs_bfloat16"].median
        assert rounding != 1 and rounding == pytest.approx(1, rel=0.05)
    assert (tmp_path / precision.PICTURE).stat().st_size > 0
    assert os.environ[PRECISION_VARIABLE] == "float32"


def test_our_layers_are_timed_beside_torch_s(setting):
    names = layers.measure(dataclasses.replace(setting, repeats=1))
    assert len(names) == 5 and "group_norm_8_channels_at_32_vs_torch" in names
    assert all(ratio.median > 0 for ratio in names.values())


def build_model(setting: Setting) -> nn.Module:
    torch.manual_seed(0)
    model = find_product_unet(setting).build().eval()
    nn.init.normal_(model.unet.conv_out.weight, std=0.1)  # it is zero at first
    return model


def test_diffusers_ddim_on_our_network_makes_our_images(setting):
    model = build_model(setting)
    config = dataclasses.replace(
        setting.params.sampler, sampler="ddim", num_steps=3, eta=0.0, spacing="trailing", clip=True
    )
    seen = []
    ours = sample(model, config, 2, 0, callback=lambda t, x_t, x_0: seen.append(x_t))
    name, options = sampling.DIFFUSERS["DDIM"]
    scheduler, x = make_scheduler(setting.params.diffusion, name, **options), seen[0]
    scheduler.set_timesteps(config.num_steps)
    with torch.inference_mode():
        for t in scheduler.timesteps:
            x = scheduler.step(DiffusersView(model.unet)(x, t).sample, t, x).prev_sample
    # diffusers keeps the eps of a clipped x_0 and has alpha_bar in float32.
    assert (model.to_unit_range(x) - ours).abs().mean() < 0.01


def test_every_sampler_draws_images_in_the_unit_range_from_the_same_noise(setting):
    model, first = build_model(setting), []
    model.unet.register_forward_pre_hook(lambda _, inputs: first.append(inputs[0]))
    for sampler in sampling.list_samplers(setting):
        if sampler.package != "product" and not find_spec(sampler.package.replace("-", "_")):
            continue
        views = {"diffusers": DiffusersView, "denoising-diffusion-pytorch": LucidrainsView}
        view = views.get(sampler.package, lambda unet: model)(model.unet)
        before = len(first)
        images = sampler.draw(view, 3, setting.num_images)
        assert torch.equal(first[before], first[0])
        assert images.shape == (setting.num_images, *IMAGE_SHAPE)
        assert 0 <= images.min() <= images.max() <= 1


def test_the_sampler_with_the_fewest_steps_within_the_bound_is_chosen(setting, monkeypatch, capsys):
    monkeypatch.setattr(sampling, "_view", lambda model, package: model)

    def draw(reach: float):
        return lambda model, steps, num_images: torch.tensor(reach / steps)

    samplers = [
        sampling.Sampler("product", "slow", draw(40.0)),
        sampling.Sampler("product", "fast", draw(10.0)),
        sampling.Sampler("peer", "hopeless", draw(math.inf)),
    ]
    judge = sampling.Judge(None, lambda images: {"value": float(images)})
    chosen = sampling.choose_steps(setting, samplers, judge, bound=2.0)
    assert chosen == {"product": (samplers[1], 5)}  # 10 / 5 = 2, and slow needs 20
    assert "| peer hopeless | not reached |" in capsys.readouterr().out


def test_many_images_at_once_and_one_alone_are_timed(setting, capsys):
    sampler = next(s for s in sampling.list_samplers(setting) if s.name == "ddim_ahead")
    ratios = sampling._compare(
        setting, find_unets(setting, {}), {"product": (sampler, 1)}, seconds_of_all_steps=1000.0
    )
    assert list(ratios) == ["sampling_vs_all_steps"] and ratios["sampling_vs_all_steps"].median > 1
    printed = capsys.readouterr().out
    assert "Sampling, 2 at once" in printed and "Sampling, 1 at once" in printed


def test_start_up_is_summed_by_package_over_modules_own_times():
    report = """import time: self [us] | cumulative | imported package
import time:       500 |        500 |   numpy.core
import time:      1000 |       1500 | numpy
import time:      2000 |       2000 | torch.nn
"""
    assert startup.sum_by_package(report) == pytest.approx({"numpy": 0.0015, "torch": 0.002})


def test_the_last_line_is_json_with_the_ratios(monkeypatch, capsys):
    monkeypatch.setattr(evaluation, "NUM_PAIRS", 150)
    monkeypatch.setattr(evaluation, "time_whole", lambda setting, experiment: None)
    topics.measure(["evaluation"], "smoke", 1)
    ratios = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert ratios["paired_metrics_vs_torchmetrics"] > 0
    assert set(ratios) <= {"paired_metrics_vs_torchmetrics", "frechet_vs_pytorch-fid"}


def test_the_public_metrics_measure_what_ours_do():
    x, noise = torch.rand(2, 3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    y = 0.8 * x + 0.2 * noise
    ours, theirs = evaluation.measure_ours(x, y), evaluation.find_torchmetrics()(x, y)
    for name, a, b in zip(("mse", "psnr", "ssim", "mae"), ours, theirs, strict=True):
        # torchmetrics adds SSIM windows over a mirrored border.
        assert torch.allclose(a, b, rtol=0.2 if name == "ssim" else 1e-4, atol=0.02), name


def test_without_a_gpu_its_topic_is_left_out_in_one_line(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    topics.measure(["gpu"], "smoke", 1)
    lines = capsys.readouterr().out.splitlines()
    assert "gpu: left out, there is no GPU here" in lines and json.loads(lines[-1]) == {}


def test_what_a_gpu_is_measured_by_runs_on_any_device(setting, monkeypatch, capsys):
    """Here as it is captured, but on a CPU nothing is recorded."""
    monkeypatch.setattr(gpu, "WARM_UP", training.WARM_UP)
    monkeypatch.setattr(gpu, "NUM_STEPS", 2)
    known = {"diffusers": (8, 8, 8)} if find_spec("diffusers") else {}
    monkeypatch.setattr(gpu, "find_unets", lambda setting: find_unets(setting, known))
    monkeypatch.setattr(gpu, "find_vaes", lambda setting: find_vaes(setting, {}))
    ratios = gpu.measure_works(setting, [BATCH], [2], ["plain", "captured"], 64)
    works = {f"{kind}_training_{BATCH}" for kind in ("unet", "vae")} | {"sample_2_at_once"}
    for name in works:
        for how in ("plain", "captured"):
            assert ratios[f"gpu_{name}_{how}_ms"].median > 0
            assert ratios[f"gpu_{name}_{how}_mb"].median == 0  # a GPU's alone is counted
    unet = find_product_unet(setting)
    flops = {
        f"unet_training_{BATCH}": BATCH * count_cost(unet, BATCH).flops,
        "sample_2_at_once": gpu.NUM_STEPS * count_cost(unet, 2, backward=False).flops,
    }
    for name, expected in flops.items():
        seconds = ratios[f"gpu_{name}_plain_ms"].median / 1000
        assert ratios[f"gpu_{name}_plain_tflops"].median == pytest.approx(expected / seconds / 1e12)
    assert (f"gpu_unet_training_{BATCH}_vs_diffusers" in ratios) == bool(known)
    printed = capsys.readouterr().out
    assert f"A training step, vae, batch {BATCH} (n = 1)" in printed and "64 x 64" in printed
    assert "An image in 2 steps, 2 at once" in printed and "| captured |" in printed
    assert LAUNCH_VARIABLE not in os.environ


def test_an_unknown_topic_is_an_error_that_names_those_there_are():
    with pytest.raises(InputError, match="topic 'speed': there is none; known: ceilings"):
        topics.measure(["speed"], "smoke", 1)


def test_who_reads_no_further_ends_it_without_a_traceback(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert topics.measure(["gpu"], "smoke", 5) == 128 + signal.SIGPIPE


def test_the_exponent_is_that_of_the_growth(setting, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    axes = [
        growth.Axis("side", (2, 4, 8), "square", lambda value: value**2),
        growth.Axis("count", (1, 10), "constant", lambda value: 3.0),
    ]
    monkeypatch.setattr(growth, "list_axes", lambda setting: axes)
    ratios = growth.measure(setting)
    assert ratios["growth_with_side_exponent"].median == pytest.approx(2)
    assert ratios["growth_with_count_exponent"].median == 0
    assert growth.PICTURE.read_bytes().startswith(b"\x89PNG")


def test_everything_that_is_varied_can_be_timed(setting):
    for axis in growth.list_axes(setting):
        assert axis.measure(axis.values[0]) > 0
