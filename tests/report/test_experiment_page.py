"""The report: whole in itself, escaped, true to the numbers, the same to the byte."""

import dataclasses
import re
from types import SimpleNamespace

import pytest
import torch

from diffusevae.core.tensor_file import save_tensors
from diffusevae.core.yaml_file import read_yaml
from diffusevae.data.dataset import DatasetConfig
from diffusevae.experiments.params_file import PARAMS_FILE
from diffusevae.figures.results import FiguresConfig
from diffusevae.metrics.verdicts import find_winner
from diffusevae.report.experiment_page import build_report
from diffusevae.report.page import ShownPicture
from diffusevae.report.reference_study import STUDY_SCALE
from diffusevae.report.report_tables import format_value
from diffusevae.report.timings import add_timings
from diffusevae.stages import figures as figures_stage
from diffusevae.stages import report as report_stage
from diffusevae.stages.names import ON_DEMAND
from tests.support.page import Page
from tests.support.report_inputs import PNG, make_inputs
from tests.support.toy_artifacts import make_metrics, write_artifacts

EVIL = "<script>alert(1)</script>"


class SilentLog:
    def message(self, text: str) -> None:
        pass

    def artifact(self, path) -> None:
        pass


def test_the_report_loads_nothing_from_elsewhere():
    page = Page(build_report(make_inputs()))
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "base")
        assert attributes.get("src", "data:").startswith("data:image/png;base64,") or tag != "img"
        assert attributes.get("href", "#").startswith("#")
        assert not {"srcset", "onload", "onerror", "action"} & set(attributes)
    html = build_report(make_inputs())
    assert not re.search(r"https?:|url\(|@import|//[a-z]+\.", html)
    assert [a["width"] for tag, a in page.tags if tag == "img"] == ["1600", "1600"]


@pytest.mark.fault("S10")
def test_what_comes_from_files_is_escaped():
    metrics = make_metrics(lpips=False)
    metrics["lpips"]["reason"] = EVIL
    html = build_report(
        make_inputs(
            experiment=EVIL,
            dataset=EVIL,
            metrics=metrics,
            pictures=[
                ShownPicture(EVIL, EVIL, "pictures", PNG),
                ShownPicture('"><b', EVIL, "vae", PNG),
            ],
            params={"dataset": EVIL, "seed": 0, EVIL: {EVIL: EVIL}, "vae_optimiser": {EVIL: EVIL}},
            best={"tune_vae": {"vae_optimiser": {EVIL: EVIL}}, "tune_ddpm": {}},
            latent_shape=(8, EVIL, 4)[:1],
        )
    )
    html = add_timings(html, {EVIL: {"seconds": 1.0, EVIL: 2.0}}, EVIL)
    assert "<script" not in html and 'alt=""><b"' not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 12


def test_what_is_strange_of_the_numbers_stands_below_them():
    assert "Warning" not in build_report(make_inputs())
    html = build_report(make_inputs(metrics=make_metrics() | {"warnings": ["copies: <b>"]}))
    assert "<strong>Warning</strong>: copies: &lt;b&gt;" in html


def test_the_table_holds_the_numbers_and_says_which_way_is_better():
    page = Page(build_report(make_inputs()))
    assert page.row("MSE") == [
        "MSE | ↓ lower is better",
        "0.00662 | 0.00562 to 0.00762",
        "0.00612 | 0.00512 to 0.00712",
        "0.00912 | 0.00812 to 0.01012",
        "0.00250 | 0.00150 to 0.00350",
        "0.00300 | 0.00200 to 0.00400",
        "VAE",
    ]
    ssim = page.row("SSIM")
    assert ssim[0].endswith("↑ higher is better") and ssim[1].startswith("0.871")
    assert ssim[4].startswith("0.015") and ssim[5].startswith("−0.005")
    assert ssim[6] == "VAE, grey values stretched"  # by two numbers what refining is praised for
    assert page.row("MAE")[4:] == ["0.0000 | −0.0010 to 0.0010"] * 2 + ["no clear difference"]
    assert page.row("HistSim")[4].startswith("−0.294") and page.row("HistSim")[6] == "DiffuseVAE"
    assert "PSNR of the mean MSE 21.79 dB (VAE)" in " ".join(page.text.split())


def test_generated_images_stand_beside_the_floor_and_the_classifier_is_named():
    page = Page(build_report(make_inputs()))
    assert page.row("VAE, code from N(0, I)")[1:] == [
        "100 | 99.0 to 101",
        "90.0 | 89.0 to 91.0",
        "−0.500 | −0.501 to −0.499",
        "0.500 | 0.499 to 0.501",
        "0.750 | 0.749 to 0.751",
        "0.550 | 0.549 to 0.551",
        "0.700 | 0.699 to 0.701",
    ]
    assert page.row("Real training images")[1:4] == [
        "4.18 | −0.820 to 9.18",
        "0.310 | −3.69 to 4.31",
        "2.00 · 10⁻⁵ | −0.000980 to 0.00102",
    ]
    assert "accuracy 99.12% on the test images" in " ".join(page.text.split())


def test_classes_stand_with_their_intervals_and_a_missed_one_is_marked():
    html = build_report(make_inputs())
    at = html.index("Which classes they are of")
    page = Page(html[at:])
    row = page.row("DDPM, no code")
    assert len(row) == 12 and row[1] == "0.1 | 0.0 to 0.4" and row[-1] == "1.5e-48"
    assert page.row("Real test images")[1].startswith("10.0 | 8.9 to 11.3")
    assert html[at:].count("<b>0.1</b>") == 7
    metrics = make_metrics()
    del metrics["classes"]  # published before
    assert "Which classes" not in build_report(make_inputs(metrics=metrics))
    metrics = make_metrics()
    metrics["classifier"]["num_classes"] = 1
    assert "Which classes" not in build_report(make_inputs(metrics=metrics))


def test_the_best_of_each_column_is_marked_by_its_direction():
    html = build_report(make_inputs())
    section = html[html.index('id="generation"') : html.index('id="study"')]
    marked = re.findall(r'best" data-label="([^"]+)"><span>([^<]+)', section)
    assert marked == [
        ("KID", "−0.500"),
        ("Recall", "0.750"),
        ("Coverage", "0.700"),
        ("Fréchet distance", "16.7"),
        ("Fréchet distance at infinity", "15.0"),
        ("Precision", "0.750"),
        ("Density", "0.800"),
    ]


def test_the_summary_names_the_headline_numbers():
    text = " ".join(Page(build_report(make_inputs())).text.split())
    for words in (
        "612,345 parameters, 3 epochs",
        "into 128 numbers",
        "On 1,234 test images",
        "is 0.871 for the VAE and 0.886 for DiffuseVAE",
        "2,345 newly made images",
        "is 50.0 for the VAE and 16.7 for DiffuseVAE from the same codes",
        "score 4.18.",
    ):
        assert words in text, words


def test_gains_over_other_generators_stand_with_their_intervals():
    text = " ".join(Page(build_report(make_inputs())).text.split())
    assert "VAE, code from the fitted mixture −3.00 (−4.00 to −2.00); " in text
    assert "DDPM, no code −5.00 (−6.00 to −4.00). Proven" in text
    metrics = make_metrics()
    metrics["gains"] = dict.fromkeys(metrics["gains"])  # fewer images than features
    for entry in metrics["generated"].values():
        entry["frechet_inf"] = None
    text = " ".join(Page(build_report(make_inputs(metrics=metrics))).text.split())
    assert "Proven is what" not in text and "not measured" in text


@pytest.mark.fault("D17")
def test_lpips_that_is_missing_is_said_and_nothing_prints_as_none_or_nan():
    page = Page(build_report(make_inputs(lpips=False)))
    assert page.row("LPIPS")[1:] == ["not measured"] * 6
    assert "LPIPS was not measured: no source had the network" in page.text
    for row in page.rows:
        assert not re.search(r"\b(none|nan|inf)\b", " ".join(row), re.IGNORECASE), row


def test_the_studys_numbers_stand_as_printed_and_as_corrected():
    page = Page(build_report(make_inputs()))
    rows = {row[0].split(" | ")[0]: row[1:] for row in page.rows if len(row) == 7}
    assert rows["LPIPS"] == ["6.90 · 10⁻⁶", "0.0690", "0.0652", "6.50 · 10⁻⁶", "0.0650", "0.0543"]
    assert rows["EdgeSim"] == ["1.8", "0.200", "0.142", "1.95", "0.217", "0.171"]
    assert rows["MSE"] == ["0.0069", "as printed", "0.00662", "0.0085", "as printed", "0.00912"]
    # 10 log10(1 / 0.0069) = 21.61 and 10 log10(1 / 0.0085) = 20.71
    assert rows["PSNR (dB) of the mean MSE"] == [
        "not given",
        "21.61",
        "21.79",
        "not given",
        "20.71",
        "20.40",
    ]
    assert rows["HistSim of all images at once"][2::3] == ["0.311", "0.022"]


@pytest.mark.parametrize("source", ["mnist", "fashion_mnist", "cifar10", "my_mnist"])
def test_the_study_is_shown_for_its_own_data_sets_only(source):
    """Whatever the data set is called: what it was made of counts."""
    html = build_report(make_inputs("mnist_of_mine", source=source))
    assert ('id="study"' in html) == (source in ("mnist", "fashion_mnist"))
    assert ("2.644" in html) == (source == "fashion_mnist")


def test_the_report_says_where_the_scale_is_not_the_studys():
    small = build_report(make_inputs())
    assert "12,345 training images, epochs: VAE 3, DiffuseVAE 5; 1,234 test images" in small
    assert "the numbers are not comparable" in small
    whole = build_report(make_inputs(scale=dataclasses.replace(STUDY_SCALE, num_train=55_000)))
    assert "the numbers are not comparable" not in whole and "yardstick" in whole


@pytest.mark.parametrize("name", ["num_train", "vae_epochs", "diffusevae_epochs", "num_test"])
def test_a_scale_reaches_another_only_if_it_is_no_smaller_in_anything(name):
    assert STUDY_SCALE.reaches(STUDY_SCALE)
    less = dataclasses.replace(STUDY_SCALE, **{name: getattr(STUDY_SCALE, name) - 1})
    assert not less.reaches(STUDY_SCALE) and STUDY_SCALE.reaches(less)


def test_tuned_values_stand_beside_those_of_params_and_no_tuning_is_said():
    page = Page(build_report(make_inputs()))
    assert page.row("vae_optimiser.learning_rate") == [
        "vae_optimiser.learning_rate",
        "0.002",
        "0.0031",
        "not given",
    ]
    assert page.row("diffusion.beta_end")[1:] == ["not given", "not searched", "0.024"]
    other = Page(build_report(make_inputs(source="cifar10")))
    assert other.row("vae_optimiser.learning_rate")[1:] == ["0.002", "0.0031"]
    assert "No tuning in this experiment" in page.text
    assert ["vae.kl_weight", "1e-05"] in page.rows and ["vae.attention_levels", "[]"] in page.rows


def test_the_report_says_how_to_make_it_again():
    page = Page(build_report(make_inputs()))
    assert "make run EXPERIMENT=quickstart" in page.text
    assert "dvc repro report@quickstart" in page.text
    assert all(digit * 64 in page.text for digit in "abc")
    assert ["DDPM", "500,001", "3", "0.25 (epoch 2)", "bbbbbbbbbbbb…"] in page.rows


def test_an_experiments_report_is_the_same_to_the_byte(tmp_path):
    inputs = write_artifacts(tmp_path)
    figures_stage.run(
        SimpleNamespace(seed=0, figures=FiguresConfig(4, 30.0)),
        **inputs,
        out=tmp_path / "figures",
        log=SilentLog(),
    )
    del inputs["sample"]
    entry = read_yaml(PARAMS_FILE)["experiments"]["smoke"]
    params = SimpleNamespace(key="smoke", **entry)
    images = read_yaml(PARAMS_FILE)["datasets"]["mnist_tiny"]["images"]
    inputs["train"] = tmp_path / "train.safetensors"
    save_tensors(inputs["train"], {"images": torch.zeros(1)}, DatasetConfig(**images))
    for out in ("first", "second"):
        report_stage.run(
            params, **inputs, figures=tmp_path / "figures", out=tmp_path / out, log=SilentLog()
        )
    first, second = ((tmp_path / out / "report.html").read_bytes() for out in ("first", "second"))
    assert first == second
    html = first.decode()
    assert html.count("<img") == 19 and str(tmp_path) not in html
    # 2 latent channels of 8 x 8: two levels halve 16 x 16 once.
    assert "into 128 numbers" in html and "2 × 8 × 8 numbers" in html


def test_the_stage_reads_every_section_of_every_experiment_that_the_flow_reads():
    for name, entry in read_yaml(PARAMS_FILE)["experiments"].items():
        # registered_sampler is of no stage: it says what the registry gets.
        assert set(entry) - {*ON_DEMAND, "registered_sampler"} == set(report_stage.SECTIONS), name


@pytest.mark.parametrize(
    ("name", "low", "high", "winner"),
    [
        ("ssim", 0.01, 0.02, "diffusevae"),
        ("ssim", -0.02, -0.01, "vae"),
        ("mse", 0.01, 0.02, "vae"),
        ("hist_sim", -0.02, -0.01, "diffusevae"),
        ("mse", -0.01, 0.01, ""),
        ("mse", 0.0, 0.01, ""),
    ],
)
def test_a_model_is_better_where_the_interval_leaves_out_zero(name, low, high, winner):
    difference = {"value": (low + high) / 2, "low": low, "high": high}
    paired = dict.fromkeys(("difference", "control"), {name: difference})
    assert find_winner(name, paired) == winner


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("mse", 0.006621, "0.00662"),
        ("psnr", 22.505, "22.50"),
        ("lpips", 7.38e-6, "7.38 · 10⁻⁶"),
        ("ssim", -0.0004, "0.000"),
        ("ssim", -0.25, "−0.250"),
        ("hist_sim", 0.0, "0.000"),
        ("frechet", 1234.4, "1,234"),
        ("frechet", 58.16, "58.2"),
        ("frechet", 0.0, "0.00"),
        ("kid", -0.00213, "−0.00213"),
        ("kid", -2.13e-6, "−2.13 · 10⁻⁶"),
        ("kid", 228.1, "228"),
    ],
)
def test_numbers_are_written_for_people(name, value, text):
    assert format_value(name, value) == text
