"""Figures: what they show can be counted, they are the same to the byte, few data suffice."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from diffusevae.core.randomness import generator
from diffusevae.figures.catalogue import draw_all
from diffusevae.figures.curve_figures import draw_codes, draw_paired_metrics, draw_schedules
from diffusevae.figures.drawing import Strip, draw_strips, figure_style, save_figure, tile
from diffusevae.figures.image_figures import (
    choose_images,
    draw_classes,
    draw_forward,
    draw_trajectory,
    find_shown,
    first_and_last,
)
from diffusevae.figures.results import FiguresConfig
from diffusevae.figures.tuning_figures import best_so_far, draw_history, draw_slices
from diffusevae.models.codes import choose_perplexity, embed_codes, knn_accuracy
from diffusevae.stages import figures as stage
from tests.support.toy_artifacts import (
    DIFFUSION,
    make_images,
    make_results,
    make_trials,
    write_artifacts,
)

CONFIG = FiguresConfig(num_images=5, tsne_perplexity=30.0)


class SilentLog:
    def message(self, text: str) -> None:
        pass

    def artifact(self, path) -> None:
        pass


@pytest.fixture(scope="module")
def drawn():
    results = make_results()
    kl = torch.tensor([2.0, 0.0, 3.0, 1.0, 0.5, 0.0])
    vae = {epoch: shown | {"kl": kl} for epoch, shown in results.snapshots["vae"].items()}
    results = dataclasses.replace(results, snapshots={**results.snapshots, "vae": vae})
    with figure_style():
        return {one.file: one for one in draw_all(results, CONFIG, seed=0)}


def test_every_figure_of_an_experiment_is_drawn_and_the_hero_comes_first(drawn):
    assert list(drawn)[0] == "reconstructions.png"
    assert set(drawn) == {
        "reconstructions.png",
        "generated.png",
        "refinements.png",
        "trajectory.png",
        "paired_metrics.png",
        "distances.png",
        "vae_reconstructions.png",
        "vae_samples.png",
        "code_use.png",
        "classes.png",
        "vae_grid.png",
        "ddpm_grid.png",
        "codes.png",
        "forward.png",
        "schedules.png",
        "ddpm_samples.png",
        "losses.png",
        "tune_ddpm_history.png",
        "tune_ddpm_importances.png",
        "tune_ddpm_slices.png",
    }
    assert all(one.title and len(one.caption) > 40 for one in drawn.values())


def test_the_stage_writes_the_same_bytes_twice(tmp_path):
    inputs = write_artifacts(tmp_path)
    params = SimpleNamespace(seed=0, figures=CONFIG)
    for out in ("first", "second"):
        stage.run(params, **inputs, out=tmp_path / out, log=SilentLog())
    captions = json.loads((tmp_path / "first" / "captions.json").read_text())
    files = [caption["file"] for caption in captions]
    written = {path.name for path in (tmp_path / "first").iterdir()}
    assert written == {*files, "captions.json"}
    for name in written:
        first, second = ((tmp_path / out / name).read_bytes() for out in ("first", "second"))
        assert first == second, name


def test_a_png_is_wide_enough_for_a_phone_and_names_no_program_or_date(drawn, tmp_path):
    with figure_style():
        for name in ("reconstructions.png", "losses.png"):
            save_figure(drawn[name].figure, tmp_path / name)
            with Image.open(tmp_path / name) as image:
                assert 1500 <= image.width <= 1800
                assert set(image.info) == {"dpi"}


def test_pixels_of_images_reach_the_file_unchanged(tmp_path):
    images = make_images(2)
    with figure_style():
        save_figure(draw_strips([Strip("", images)], 2), tmp_path / "strip.png")
    pixels = np.asarray(Image.open(tmp_path / "strip.png").convert("L"))
    k = round(pixels.shape[1] / 36)  # two images of 16 pixels, each with 2 of border
    bottom = pixels[-18 * k :]
    shown = bottom[k + k // 2 :: k, k + k // 2 :: k][:16, :16]
    assert np.array_equal(shown, (images[0, 0] * 255).round().byte().numpy())


def test_a_tile_has_white_borders_and_white_places_where_images_end():
    sheet = tile(torch.zeros(3, 1, 4, 4), columns=2)
    assert sheet.shape == (12, 12, 3)
    assert (sheet[1:5, 1:5] == 0).all() and (sheet[1:5, 7:11] == 0).all()
    assert (sheet[7:11, 1:5] == 0).all() and (sheet[7:11, 7:11] == 255).all()
    assert (sheet[[0, 5, 6]] == 255).all() and (sheet[:, [0, 5, 6, 11]] == 255).all()
    assert (sheet == 0).sum() == 3 * 16 * 3


def test_a_tile_keeps_colours():
    red = torch.tensor([1.0, 0.5, 0.0]).reshape(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert tile(red, 1)[2, 2].tolist() == [255, 128, 0]


def test_shown_images_are_the_first_of_each_class_then_the_rest():
    labels = torch.tensor([7, 7, 2, 2, 1])
    assert choose_images(labels, 3).tolist() == [4, 2, 0]
    assert choose_images(labels, 9).tolist() == [4, 2, 0, 1, 3]


def test_first_and_last_snapshot_are_one_where_there_is_one():
    assert first_and_last({5: {}, 50: {}, 20: {}}) == [5, 50]
    assert first_and_last({3: {}}) == [3]


def test_the_data_s_grid_has_a_row_for_each_class_and_white_where_images_end():
    real = make_images(5)
    with figure_style():
        figure = draw_classes(real, torch.tensor([7, 2, 7, 7, 2]), 2)
    sheet = np.asarray(figure.images[0].get_array())
    k = sheet.shape[1] // 36  # two columns of 16 pixels, each with 2 of border
    pixels = sheet[k // 2 :: k, k // 2 :: k, 0]
    shown = [[pixels[y + 1 : y + 17, x + 1 : x + 17] for x in (0, 18)] for y in (0, 18)]
    for row, places in zip(shown, ((1, 4), (0, 2)), strict=True):
        for found, place in zip(row, places, strict=True):
            assert np.array_equal(found, (real[place, 0] * 255).round().byte().numpy())
    with figure_style():
        one = np.asarray(draw_classes(real[:2], torch.tensor([7, 2]), 2).images[0].get_array())
    assert (one[:, one.shape[1] // 2 :] == 255).all()  # a class of one image: the rest is white


def test_the_grids_are_of_as_many_images_as_the_study_shows():
    many = {"vae_prior": make_images(120, 1), "ddpm": make_images(120, 2)}
    results = dataclasses.replace(make_results(), generated=make_results().generated | many)
    with figure_style():
        shown = {one.file: one for one in draw_all(results, CONFIG, seed=0)}
    for model, side in (("vae", 8), ("ddpm", 10)):
        sheet = np.asarray(shown[f"{model}_grid.png"].figure.images[0].get_array())
        assert sheet.shape[0] == sheet.shape[1] and sheet.shape[0] % (18 * side) == 0
        assert f"The first {side**2} of" in shown[f"{model}_grid.png"].caption


def test_the_image_that_is_destroyed_is_the_first_3_or_else_the_first():
    assert find_shown(torch.tensor([7, 2, 3, 3]), 3) == 2
    assert find_shown(torch.tensor([7, 2, 1]), 3) == 0


def test_the_caption_of_the_code_s_use_counts_what_is_active(drawn):
    """All six numbers of the toy codes vary: two clusters, 20 apart."""
    caption = drawn["code_use.png"].caption
    assert "each of the 6 numbers of the code" in caption
    assert "6 after epoch 1 and 6 after epoch 2" in caption
    line = drawn["code_use.png"].figure.axes[0].lines[-1]
    assert list(line.get_ydata()) == pytest.approx([3, 2, 1, 0.5, 1e-5, 1e-5])  # 0 is no logarithm


def test_the_forward_strip_shows_x_t_of_the_closed_form():
    """Against numpy: T = 100, so the columns are t = 10, 30, 50, 70, 90 steps of the chain."""
    image = make_images(1)[0]
    with figure_style():
        sheet = draw_forward(image, DIFFUSION, seed=3).images[0].get_array()  # linear
    eps = torch.randn(image.shape, generator=generator(3, "figures", "forward")).numpy()[0]
    alpha_bars = np.cumprod(1 - np.linspace(DIFFUSION.beta_start, DIFFUSION.beta_end, 100))
    k = len(sheet) // 18
    pixels = np.asarray(sheet)[k // 2 :: k, k // 2 :: k, 0]  # back to one value per pixel
    for column, steps in enumerate((10, 30, 50, 70, 90), start=1):
        a = alpha_bars[steps - 1]
        x_t = np.sqrt(a) * (2 * image.numpy()[0] - 1) + np.sqrt(1 - a) * eps
        expected = ((x_t + 1) / 2).clip(0, 1) * 255
        shown = pixels[1:17, 18 * column + 1 : 18 * column + 17]
        assert np.abs(shown - expected).max() <= 1


def test_a_trajectory_has_a_column_for_x_hat_and_one_for_each_moment():
    with figure_style():
        figure = draw_trajectory(make_results().trajectory)
    texts = [text.get_text() for text in figure.texts]
    assert texts[:4] == [r"$\hat{x}$", "t = 99", "t = 49", "end"]
    assert len(figure.images) == 2


def test_schedules_fall_and_the_unused_one_is_dashed():
    with figure_style():
        left, right = draw_schedules(DIFFUSION).axes
    for axes in (left, right):
        linear, cosine = axes.lines[:2]
        assert (linear.get_linestyle(), cosine.get_linestyle()) == ("--", "-")
        assert all((np.diff(line.get_ydata()) < 0).all() for line in (linear, cosine))


def test_knn_accuracy_by_hand():
    mu = np.array([[0.0], [1.0], [10.0], [11.5]])
    assert knn_accuracy(mu, np.array([0, 0, 1, 1]), k=1) == 1.0
    assert knn_accuracy(mu, np.array([0, 1, 0, 1]), k=1) == 0.0
    # All three others vote: the only member of class 0 is outvoted, the others are not.
    assert knn_accuracy(mu, np.array([0, 1, 1, 1]), k=3) == 0.75
    assert knn_accuracy(mu, np.array([0, 1, 1, 1]), k=99) == 0.75


def test_codes_of_separate_classes_are_fully_named_and_the_caption_says_so(drawn):
    assert "100.0% after epoch 1, 100.0% after epoch 2" in drawn["codes.png"].caption
    assert "get 50.0%" in drawn["codes.png"].caption
    assert "perplexity 13)" in drawn["codes.png"].caption  # 40 codes: (40 - 1) / 3


def test_perplexity_adapts_to_few_points():
    assert choose_perplexity(10, 30) == 3
    assert choose_perplexity(1000, 30) == 30


@pytest.mark.parametrize("shape", [(4, 6), (5, 1), (12, 2)])
def test_few_codes_and_few_dimensions_can_be_embedded(shape):
    points = embed_codes(np.random.default_rng(0).normal(size=shape), 30, seed=0)
    assert points.shape == (shape[0], 2) and np.isfinite(points).all()


def test_too_few_codes_are_refused():
    with pytest.raises(ValueError, match="3 codes"):
        embed_codes(np.zeros((3, 2)), 30, seed=0)


def test_tsne_keeps_far_clusters_apart():
    labels = np.arange(60) % 2
    mu = np.random.default_rng(0).normal(size=(60, 5)) + 30 * labels[:, None]
    points = embed_codes(mu, 30, seed=0)
    centres = [points[labels == label].mean(0) for label in (0, 1)]
    spread = max(np.linalg.norm(points[labels == i] - centres[i], axis=1).max() for i in (0, 1))
    assert np.linalg.norm(centres[0] - centres[1]) > 2 * spread


def test_the_number_of_a_class_stands_at_its_median():
    points = np.array([[0.0, 0.0], [2.0, 2.0], [4.0, 1.0], [9.0, 9.0]])
    with figure_style():
        axes = draw_codes([("", points, np.array([3, 3, 3, 8]))]).axes[0]
    assert {text.get_text(): tuple(text.xy) for text in axes.texts} == {
        "3": (2.0, 1.0),
        "8": (9.0, 9.0),
    }


def test_lpips_that_was_not_measured_has_no_plot():
    with figure_style():
        titles = [
            axes.get_title(loc="left")
            for axes in draw_paired_metrics(make_results(lpips=False).per_image).axes
        ]
    assert [title.split()[0] for title in titles if title] == [
        "MSE",
        "PSNR",
        "SSIM",
        "MAE",
        "EdgeSim",
        "HistSim",
    ]


def test_the_best_trial_is_a_completed_one():
    trials, _ = make_trials()
    assert best_so_far(trials) == 0.25  # the pruned one stopped at 0.1
    with figure_style():
        line = draw_history(trials, "red").axes[0].lines[0]
    assert list(line.get_ydata()) == [0.5, 0.3, 0.3, 0.25]


def test_slices_leave_out_trials_that_had_no_such_parameter():
    trials, _ = make_trials()
    with figure_style():
        rate, scheduler, beta_end, _ = draw_slices(trials, "red").axes
    count = [
        sum(len(dots.get_offsets()) for dots in axes.collections)
        for axes in (rate, scheduler, beta_end)
    ]
    assert count == [5, 5, 3]
    assert rate.get_xscale() == "log" and beta_end.get_xscale() == "linear"
    assert [text.get_text() for text in scheduler.get_xticklabels()] == ["cosine", "linear"]


def test_a_slice_along_many_names_shows_them_all():
    trials, _ = make_trials()
    trials = pd.concat([trials, trials], ignore_index=True)
    trials["diffusion.scheduler_type"] = list("jihgfedcba")
    with figure_style():
        axes = draw_slices(trials, "red").axes[1]
    assert [text.get_text() for text in axes.get_xticklabels()] == list("abcdefghij")


def test_without_snapshots_or_enough_codes_their_figures_are_left_out():
    none = {"vae": {}, "ddpm": {}, "diffusevae": {}}
    results = dataclasses.replace(make_results(), snapshots=none)
    with figure_style():
        files = {one.file for one in draw_all(results, CONFIG, 0)}
        few = {one.file for one in draw_all(make_results(num_codes=3), CONFIG, 0)}
    assert not files & {"codes.png", "refinements.png", "vae_samples.png", "ddpm_samples.png"}
    assert "reconstructions.png" in files
    assert "codes.png" not in few and "vae_samples.png" in few


def test_one_image_and_a_study_with_every_trial_pruned_are_enough():
    results = make_results()
    trials = pd.DataFrame({"number": [0], "state": ["pruned"], "value": [0.1], "epochs": [1]})
    first = {name: tensor[:1] for name, tensor in results.pairs.items()}
    results = dataclasses.replace(
        results,
        pairs=first,
        per_image=results.per_image[results.per_image["index"] == 0],
        tuning={"tune_vae": (trials, make_trials()[1].iloc[:0])},
    )
    with figure_style():
        files = [one.file for one in draw_all(results, CONFIG, 0)]
    assert "paired_metrics.png" in files and not any(file.startswith("tune") for file in files)
