"""Spectra: bad files, copies, folds and augmentation; lines and hits by hand; the stage itself."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from diffusevae.core.errors import InputError
from diffusevae.core.params import load_sections
from diffusevae.core.randomness import generator
from diffusevae.latents.models.beta_vae import load_vector_vae
from diffusevae.latents.page.chapter import read_chapter
from diffusevae.latents.spectra.augmentation import AugmentationConfig, augment
from diffusevae.latents.spectra.measured_spectra import (
    FILE,
    Spectra,
    drop_copies,
    fit_spectra,
    read_spectra,
    scale,
    split_folds,
)
from diffusevae.latents.spectra.recognition import (
    METHODS,
    add_noise,
    average,
    build_archetypes,
    compare_archetypes,
    judge_fold,
    recognise,
    summarise_hits,
)
from diffusevae.latents.spectra.spectra_chapter import judge_common_latent, judge_recognition
from diffusevae.latents.spectra.spectral_lines import (
    KNOWN_LINES,
    check_lines,
    find_common_latent,
    find_sharers,
    measure_line,
    measure_lines,
    rank_latents,
    summarise_lines,
    traverse_all,
)
from diffusevae.sources.pinned import ASSETS
from diffusevae.stages import spectra as stage
from diffusevae.tracking.stage_logger import StageLogger
from diffusevae.training.loop import Callbacks
from tests.support.real_data import raw_folder

ROOT = Path(__file__).parents[2]
STILL = AugmentationConfig(0, 0, 0, 0, 0)


@pytest.fixture(scope="module")
def raw() -> Spectra:
    return read_spectra(raw_folder("raman"))


@pytest.fixture(scope="module")
def smoke():
    params = load_sections(ROOT / "params.yaml", stage.ROOT, "latents_smoke", stage.SECTIONS)
    params.key = "latents_smoke"
    return params


def toy(labels: list[int], length: int = 8) -> Spectra:
    """One channel of height 1 per label, at channel 2 + label, and a bit of each own elsewhere."""
    x = torch.zeros(len(labels), 1, length)
    for i, label in enumerate(labels):
        x[i, 0, 2 + label], x[i, 0, 0] = 1, i / 100
    names = ("Gypsum", "Calcite", "Quartz")[: max(labels) + 1]
    return Spectra(np.arange(length) * 100.0 + 200, x, torch.tensor(labels), names)


class Identity(nn.Module):
    """A model whose code is the spectrum."""

    def encode(self, x):
        return x.flatten(1), torch.zeros(x.flatten(1).shape)

    def decode(self, z):
        return z.unsqueeze(1)


def test_the_file_is_what_is_said_of_it(raw):
    assert [file.name for file in ASSETS["raman"].files] == [FILE]
    assert raw.intensities.shape == (322, 1, 1000) and len(raw.names) == 27
    assert raw.shift[0] == 200 and raw.shift[-1] == 1199
    assert raw.intensities.min() == 0 and (raw.intensities.amax((1, 2)) == 1).all()
    assert len(raw.of("Gypsum")) == 6
    check_lines(raw)


@pytest.mark.parametrize("mineral", KNOWN_LINES)
def test_the_known_lines_are_maxima_of_the_measured_spectra(raw, mineral):
    mean = raw.of(mineral).mean((0, 1)).numpy()
    for line, _ in KNOWN_LINES[mineral]:
        near = np.flatnonzero(np.abs(raw.shift - line) <= 8)
        top = near[mean[near].argmax()]
        assert near[0] < top < near[-1], f"{mineral} {line}: no maximum near"


def test_copies_are_dropped_also_under_another_name(raw):
    spectra, pairs = drop_copies(raw)
    assert len(pairs) == 19 and len(spectra.labels) == 303
    other = [
        (raw.names[raw.labels[a]], raw.names[raw.labels[b]])
        for a, b in pairs
        if raw.labels[a] != raw.labels[b]
    ]
    assert other.count(("Labradorite", "Anorthite")) == 13
    assert other.count(("Bytownite", "Anorthite")) == 4 and len(other) == 17
    assert all(torch.equal(raw.intensities[a], raw.intensities[b]) for a, b in pairs)
    assert len(spectra.intensities.unique(dim=0)) == 303
    assert spectra.labels.tolist() == sorted(spectra.labels.tolist())  # the order is the file's


GOOD = {
    "shift": np.arange(200.0, 208.0),
    "spectra": np.eye(8)[:4] + 0.1,
    "label": np.array([0, 0, 1, 1]),
    "names": np.array(["a", "b"]),
}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"mass": np.zeros(3)},
            "holds label, mass, names, shift, spectra, expected shift, spectra",
        ),
        ({"label": None}, "holds names, shift, spectra, expected"),
        ({"shift": np.arange(7.0)}, r"spectra are \[4, 8\], expected \[4, 7\]"),
        ({"label": np.array([0, 1, 1])}, r"spectra are \[4, 8\], expected \[3, 8\]"),
        ({"label": np.array([0, 0, 1, 2])}, "labels go from 0 to 2, expected 0 to 1 for 2 names"),
        ({"label": np.array([-1, 0, 1, 1])}, "labels go from -1 to 1"),
        ({"label": np.array([0.0, 0, 1, 1])}, r"label is float64 \[4\], expected whole numbers"),
        ({"shift": GOOD["shift"][::-1]}, "shift does not increase"),
        ({"shift": GOOD["shift"] // 2}, "shift does not increase"),
        ({"shift": np.full(8, np.nan)}, "shift does not increase"),
        (
            {"spectra": np.where(np.eye(8)[:4] == 1, np.nan, 1)},
            "spectrum 0 has a value that is not",
        ),
        (
            {"spectra": np.ones((4, 8)) * [[1], [1], [-1], [1]]},
            "spectrum 2 has no intensity above 0",
        ),
        ({"spectra": np.ones(8)}, r"spectra is float64 \[8\], expected numbers in 2 dimensions"),
        ({"spectra": np.full((4, 8), "x")}, "spectra is <U1 .*expected numbers"),
        ({"names": np.array(["a", "a"])}, "names has a name twice"),
        ({"names": np.array(["a", None], dtype=object)}, "cannot be read .*allow_pickle"),
        ({"names": np.array([], dtype=str)}, r"names is <U1 \[0\], expected text"),
    ],
)
def test_a_file_that_is_something_else_is_refused_in_one_line(tmp_path, changes, reason):
    arrays = {name: array for name, array in (GOOD | changes).items() if array is not None}
    np.savez(tmp_path / FILE, **arrays)
    with pytest.raises(InputError, match=reason) as caught:
        read_spectra(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path / FILE) in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 broken", b"no archive at all"])
def test_a_file_that_is_missing_or_damaged_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        read_spectra(tmp_path)


def test_a_single_array_is_refused(tmp_path):
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(tmp_path / FILE)
    with pytest.raises(InputError, match="cannot be read"):
        read_spectra(tmp_path)


def test_other_minerals_or_another_axis_are_refused(raw):
    with pytest.raises(InputError, match="none of Hematite, Forsterite, Zircon, whose lines"):
        check_lines(toy([0, 1, 2]))
    with pytest.raises(InputError, match="from 250 to 1249 cm.*lie from 206 to 1135"):
        check_lines(dataclasses.replace(raw, shift=raw.shift + 50))


def test_scaling_cuts_below_zero_and_the_strongest_line_is_one():
    scaled = scale(torch.tensor([[-1.0, 1.0, 4.0], [0.0, 0.1, 0.05]]))
    assert torch.allclose(scaled, torch.tensor([[0, 0.25, 1], [0, 1, 0.5]]))


def test_folds_share_nothing_and_hold_out_every_spectrum_once(raw):
    spectra, _ = drop_copies(raw)
    folds = split_folds(spectra.labels, spectra.names, 3, 0)
    held = torch.cat([held_out for _, held_out in folds])
    assert sorted(held.tolist()) == list(range(303))
    for train, held_out in folds:
        assert not set(train.tolist()) & set(held_out.tolist())
        assert len(train) + len(held_out) == 303
        for part in (train, held_out):
            assert len(spectra.labels[part].unique()) == 27
    again = split_folds(spectra.labels, spectra.names, 3, 0)
    other = split_folds(spectra.labels, spectra.names, 3, 1)
    assert torch.equal(again[0][0], folds[0][0]) and not torch.equal(other[0][1], folds[0][1])
    with pytest.raises(InputError, match="num_folds: 4, but Anorthite has 3 spectra"):
        split_folds(spectra.labels, spectra.names, 4, 0)


def test_augmentation_by_zero_changes_nothing():
    spectra = toy([0, 0, 1])
    rows = torch.tensor([2, 0])
    for part in augment(spectra.intensities, spectra.labels, rows, STILL, generator(0)):
        assert torch.equal(part, spectra.intensities[rows])


def test_a_spectrum_is_mixed_with_its_own_mineral_alone():
    spectra = toy([0] * 3 + [1] * 3)
    config = dataclasses.replace(STILL, mix=1.0)
    rows = torch.arange(6).repeat(50)
    clean, seen = augment(spectra.intensities, spectra.labels, rows, config, generator(0))
    assert torch.equal(clean, seen)
    other = torch.where(spectra.labels[rows] == 0, clean[:, 0, 3], clean[:, 0, 2])
    assert (other == 0).all() and torch.allclose(clean.amax(2), torch.ones(300, 1))
    moved = (clean - spectra.intensities[rows])[:, 0, 0]
    assert (moved != 0).any() and moved.abs().max() <= 0.01 + 1e-6  # half way to two hundredths


def test_shift_and_gain_change_both_and_noise_and_baseline_what_is_seen_alone():
    spectra = toy([0] * 4)
    rows = torch.arange(4).repeat(100)
    config = dataclasses.replace(STILL, max_shift=2, max_gain=0.5)
    clean, seen = augment(spectra.intensities, spectra.labels, rows, config, generator(0))
    assert torch.equal(clean, seen)
    heights, places = clean[:, 0].max(1)
    assert set(places.tolist()) == {0, 1, 2, 3, 4}
    assert 0.5 <= heights.min() < 0.6 and 0.9 < heights.max() <= 1
    config = dataclasses.replace(STILL, max_baseline=0.2, max_noise=0.0)
    clean, seen = augment(spectra.intensities, spectra.labels, rows, config, generator(0))
    added = (seen - clean)[:, 0]
    assert torch.equal(clean, spectra.intensities[rows])
    assert added.min() >= 0 and 0.15 < added.max() <= 0.2
    assert added.diff(dim=1).diff(dim=1).abs().max() < 1e-6  # a straight line
    config = dataclasses.replace(STILL, max_noise=0.3)
    clean, seen = augment(spectra.intensities, spectra.labels, rows, config, generator(0))
    spread = (seen - clean).std()  # of deviations even from 0 to 0.3: their root mean square
    assert torch.equal(clean, spectra.intensities[rows])
    assert spread == pytest.approx(0.3 / 3**0.5, rel=0.1)


def test_training_sees_nothing_but_the_spectra_it_is_given(raw, smoke):
    """The same spectra and seed give the same model, whatever lies beside them in memory."""
    x, labels = raw.intensities[::10].clone(), raw.labels[::10]
    config = dataclasses.replace(smoke.spectra, epochs=2)
    weights = [
        fit_spectra(config, x, labels, seed, Callbacks())[0].state_dict() for seed in (0, 0, 1)
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["to_mu.weight"], weights[2]["to_mu.weight"])


class Drawing(nn.Module):
    """Latent 0 is the height at 400 cm^-1; latent 1 a third of it, and that at 500; 2 nothing."""

    def encode(self, x):
        return torch.zeros(len(x), 3), torch.zeros(len(x), 3)

    def decode(self, z):
        x = torch.zeros(len(z), 1, 8)
        x[:, 0, 2] = (z[:, 0] + z[:, 1] / 3) / 10
        x[:, 0, 3] = -z[:, 1] / 10
        return x


def test_a_traversal_moves_one_latent_and_leaves_the_others():
    codes = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    decoded = traverse_all(Drawing(), codes, 3)
    assert decoded.shape == (2, 3, 3, 8)
    assert decoded[0, 0, :, 2].tolist() == pytest.approx([(z + 2 / 3) / 10 for z in (-3, 0, 3)])
    assert decoded[0, 0, :, 3].tolist() == pytest.approx([-0.2] * 3)
    assert decoded[0, 1, :, 3].tolist() == pytest.approx([0.3, 0, -0.3])
    assert decoded[1, 2].abs().max() == 0


def test_a_line_is_the_mean_of_its_window():
    spectrum = torch.arange(8.0)
    shift = np.arange(200.0, 1000, 100)
    assert measure_line(spectrum, shift, 400, 0) == 2
    assert measure_line(spectrum, shift, 430, 100) == 2.5
    with pytest.raises(InputError, match="line_window: 20 .* no channel at 430"):
        measure_line(spectrum, shift, 430, 20)


def test_six_other_minerals_share_gypsum_s_strongest_line(raw):
    assert find_sharers(raw, "Gypsum", 1008, 3) == [
        "Augite",
        "Diopside",
        "Enstatite",
        "Hedenbergite",
        "Jarosite",
        "Zircon",
    ]
    assert find_sharers(raw, "Quartz", 464, 3) == []


def test_which_latent_moves_which_line_is_measured(monkeypatch):
    lines = {"Gypsum": ((400, "a"), (500, "b"))}
    monkeypatch.setattr("diffusevae.latents.spectra.spectral_lines.KNOWN_LINES", lines)
    spectra = toy([0, 0, 0, 1])
    table = measure_lines(Drawing(), spectra, 5, 10, 0)
    swings = table.pivot_table("swing", "line", "latent")
    assert swings.loc["Gypsum 400"].tolist() == pytest.approx([0.6, 0.2, 0])
    assert swings.loc["Gypsum 500"].tolist() == pytest.approx([0, 0.6, 0])
    assert table["share"].tolist() == pytest.approx([0.75, 0.25, 0, 0, 1, 0])
    assert table["change"].tolist() == pytest.approx([0.6, 0.2, 0, 0, -0.6, 0])
    assert (table["num_spectra"] == 3).all() and (table["low"] <= table["swing"]).all()
    other = table.assign(share=table["share"] / 2, swing=table["swing"] / 3)
    pseudo = torch.full((2, 1, 8), 0.5)
    summary = summarise_lines([table, other, other], spectra, pseudo, 10).set_index("line")
    assert summary["shared_by"].tolist() == [0, 1]  # gypsum has no line at 500, calcite has one
    assert summary["measured"].tolist() == [1, 0] and summary["pseudo"].tolist() == [0.5, 0.5]
    assert summary.loc["Gypsum 400", ["top_share", "share_least", "share_greatest"]].tolist() == (
        pytest.approx([0.375, 0.375, 0.75])
    )
    assert summary.loc["Gypsum 500", "swing_greatest"] == pytest.approx(0.6)
    ranked = rank_latents(Drawing(), spectra, table).set_index("latent")
    assert ranked.loc[1, "furthest_line"] == "Gypsum 500"
    assert ranked.loc[0, "mean_swing"] == pytest.approx(0.3) and ranked["kl"].tolist() == [0] * 3
    assert find_common_latent(table, "Gypsum") == (0, 1)
    assert judge_common_latent([table], "Gypsum") == "fails"  # each line has a latent of its own
    alone = table.assign(share=(table["latent"] == 1) * 0.9, swing=(table["latent"] == 1) * 0.5)
    assert find_common_latent(alone, "Gypsum") == (1, 2)
    assert judge_common_latent([alone, alone], "Gypsum") == "holds"
    assert judge_common_latent([alone, table], "Gypsum") == "open"


def test_averages_are_per_label():
    values = torch.tensor([[1.0, 0], [3, 0], [5, 7]])
    assert average(values, torch.tensor([0, 0, 1])).tolist() == [[2, 0], [5, 7]]


def test_noise_has_its_level_and_is_the_same_at_every_level():
    x = torch.ones(50, 1, 200)
    weak, strong = (add_noise(x, level, 0) - x for level in (0.1, 0.4))
    assert weak.std() == pytest.approx(0.1, rel=0.03)
    assert torch.allclose(4 * weak, strong, atol=1e-5)
    assert torch.equal(add_noise(x, 0.0, 0), x)


def test_every_method_names_the_nearest_by_its_own_measure():
    """Cosine looks at the direction alone, distance at the length too."""
    x = torch.tensor([[[1.0, 0.0]], [[0.4, 0.3]], [[0.2, 0.5]]])
    labels = torch.tensor([0, 1, 1])
    noisy = torch.tensor([[[0.3, 0.0]], [[4.0, 3.9]]])
    found = recognise(Identity(), x, labels, noisy)
    assert set(found) == set(METHODS)
    assert found["cosine"].tolist() == [0, 1] and found["denoised"].tolist() == [0, 1]
    assert found["code"].tolist() == [1, 0]  # 0.32 from (0.4, 0.3), 0.7 from (1, 0); 5.1 and 4.9
    assert found["archetype"].tolist() == [1, 0]  # label 1's is (0.3, 0.4)
    assert found["mean_cosine"].tolist() == [0, 1]


def test_hits_are_those_of_the_held_out_spectra():
    spectra = toy([0, 0, 0, 1, 1, 1])
    train, held_out = torch.tensor([0, 1, 3, 4]), torch.tensor([2, 5])
    hits = judge_fold(Identity(), spectra, train, held_out, (0.0, 50.0), 0)
    assert len(hits) == 2 * len(METHODS) * 2
    assert (hits[hits["noise"] == 0]["hit"] == 1).all()
    assert set(hits["spectrum"]) == {2, 5} and set(hits["mineral"]) == {"Gypsum", "Calcite"}
    wrong = dataclasses.replace(spectra, labels=torch.tensor([0, 0, 1, 1, 1, 0]))
    assert (judge_fold(Identity(), wrong, train, held_out, (0.0,), 0)["hit"] == 0).all()


def test_accuracy_is_balanced_over_minerals_and_compared_in_pairs():
    rows = []
    for seed in (0, 1):
        for spectrum in range(10):  # 8 of a, 2 of b
            for method in METHODS:
                hit = spectrum < 8 if method == "archetype" else spectrum % 2 == 0 or seed == 1
                rows.append((seed, 0.1, method, spectrum, "a" if spectrum < 8 else "b", int(hit)))
    columns = ["seed", "noise", "method", "spectrum", "mineral", "hit"]
    table = summarise_hits(pd.DataFrame(rows, columns=columns), 0).set_index("method")
    archetype, cosine = table.loc["archetype"], table.loc["cosine"]
    assert archetype["accuracy"] == pytest.approx(0.8)
    assert archetype["balanced_accuracy"] == pytest.approx(0.5)
    assert cosine["accuracy"] == pytest.approx(0.75)
    assert (cosine["least"], cosine["greatest"]) == (0.5, 1.0)
    assert archetype["difference"] == pytest.approx(0.05)
    assert archetype["difference_low"] < 0 < archetype["difference_high"]
    assert cosine["difference_low"] == cosine["difference_high"] == 0
    assert cosine["num_spectra"] == 10 and cosine["num_seeds"] == 2


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [
        ([(0.1, 0.2), (0.01, 0.3)], "holds"),
        ([(-0.3, -0.1), (-0.1, 0.2)], "fails"),
        ([(-0.3, -0.1), (0.1, 0.2)], "open"),
        ([(-0.1, 0.1), (-0.1, 0.2)], "open"),
    ],
)
def test_a_verdict_follows_from_the_intervals(bounds, verdict):
    rows = [
        {"method": "archetype", "noise": 0.1, "difference_low": low, "difference_high": high}
        for low, high in bounds
    ]
    rows.append({"method": "archetype", "noise": 0.0, "difference_low": -1, "difference_high": -1})
    assert judge_recognition(pd.DataFrame(rows), "archetype") == verdict


def test_archetypes_are_decoded_mean_codes_and_compared_with_unseen_spectra():
    spectra = toy([0, 0, 1, 1])
    archetypes = build_archetypes(Identity(), spectra)
    assert torch.allclose(archetypes["codes"][0], spectra.intensities[:2, 0].mean(0))
    train, held_out = torch.tensor([0, 2]), torch.tensor([1, 3])
    compared = compare_archetypes(Identity(), spectra, train, held_out, 0)
    expected = [1 / np.sqrt(1 + 0.01**2), (1 + 0.02 * 0.03) / np.sqrt(1.0004 * 1.0009)]
    for name in ("pseudo", "mean", "single"):  # one training spectrum each: all the same
        assert compared[name].tolist() == pytest.approx(expected, abs=1e-6)


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
