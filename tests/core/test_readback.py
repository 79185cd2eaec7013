"""Files read again, damaged in hundreds of ways: each is taken, or refused in one line."""

import csv
import io
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from diffusevae.core.errors import EnvironmentFailure, InputError
from diffusevae.core.readback import LARGEST, read_as, read_mapping, read_png, read_table
from diffusevae.core.tensor_file import save_tensors
from diffusevae.core.yaml_file import read_yaml
from diffusevae.data.dataset import DatasetConfig
from diffusevae.experiments.params_file import PARAMS_FILE
from diffusevae.figures.curve_figures import draw_distances, draw_losses, draw_paired_metrics
from diffusevae.figures.drawing import figure_style, save_figure
from diffusevae.figures.tuning_figures import draw_history, draw_slices
from diffusevae.latents.page.cards import read_cards
from diffusevae.metrics.evaluation import flatten
from diffusevae.metrics.labels import FLOOR, MODEL_NAMES
from diffusevae.metrics.measured import (
    read_history,
    read_importances,
    read_metrics,
    read_per_image,
    read_trials,
)
from diffusevae.metrics.metric import PAIRED
from diffusevae.report.overview import build_overview, read_study
from diffusevae.report.timings import add_timings
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.stages import report as report_stage
from tasks.registry.sampler import Choice
from tasks.report.result_tables import render_metrics, render_stage
from tests.support.toy_artifacts import make_metrics, make_results, make_trials, write_artifacts

ROOT = Path(__file__).parents[2]
MUTANTS = 200
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(16)
OTHERS = (
    None,
    float("nan"),
    float("inf"),
    -1e308,
    10**400,
    0,
    -3,
    2.5,
    True,
    "",
    "text",
    "<b>",
    "../../x",
    "\ud800",
    [],
    {},
    [[[[]]]],
    {"value": {"low": []}},
)
CELLS = ("", "nan", "inf", "-inf", "1e309", "text", "9" * 400, "-1", "2.5", "True", '"', "\0")
SAMPLER = {
    "sampler": "ddim",
    "num_steps": 4,
    "eta": 0.0,
    "guidance": 0.0,
    "temperature": 1.0,
    "clip": True,
    "batch_size": 250,
    "shared_noise": False,
    "spacing": "trailing",
    "variance": "posterior",
}
CHAPTER = {
    "title": "One",
    "summary": ["What.", "How."],
    "headlines": [{"name": "n", "value": 1.5, "low": 1.0, "high": None, "of": "seeds"}],
    "claims": [{"claim": "c", "source": "s", "verdict": "holds", "evidence": "e"}],
    "pictures": [{"file": "a.png", "title": "t", "caption": "c"}],
    "tables": [{"file": "a.csv", "title": "t", "caption": "c"}],
}
CARDS = "latent,kl,meaning\n0,1.5,slant\n1,0.0,nothing\n"


def nodes(value: object) -> Iterator[tuple[dict | list, object]]:
    """Yield every (container, key or index) below a value."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from nodes(value[key])


def change_json(text: str, chance: random.Random) -> str:
    value = json.loads(text)
    container, key = chance.choice(list(nodes(value)))
    how = chance.randrange(4)
    if how == 0:
        del container[key]
    elif how == 1 and isinstance(container, dict):
        container[chance.choice((f"{key}x", "", "é" * 300))] = container.pop(key)
    else:
        container[key] = chance.choice(OTHERS)
    return json.dumps(value)


def change_csv(text: str, chance: random.Random) -> str:
    rows = list(csv.reader(io.StringIO(text)))
    row, column = chance.randrange(len(rows)), chance.randrange(len(rows[0]))
    how = chance.randrange(5)
    if how == 0:
        for each in rows:
            del each[column]
    elif how == 1:
        del rows[chance.choice((0, row)) :]
    elif how == 2:
        rows[row] += ["more"] * chance.randrange(1, 4)
    else:
        rows[row][column] = chance.choice(CELLS)
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue()


def change_bytes(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content) + 1)
    return chance.choice(
        (
            b"",
            content[:at],
            content[:at] + chance.randbytes(8) + content[at:],
            chance.randbytes(64),
            b"[" * 100_000,
            b'{"a":' * 5_000,
            b"9" * 6_000,
            b"null",
            b"[]",
            b"{}",
            b"\xff\xfe",
        )
    )


def mutate(content: bytes, suffix: str, count: int = MUTANTS) -> Iterator[bytes]:
    """Yield damaged copies of a file, the same in every run."""
    chance = random.Random(suffix)
    change = change_csv if suffix == ".csv" else change_json
    for _ in range(count):
        if chance.random() < 0.3:
            yield change_bytes(content, chance)
        else:
            yield change(content.decode(), chance).encode("utf-8", "surrogatepass")


def try_mutants(path: Path, use: Callable[[], object], count: int = MUTANTS) -> tuple[int, int]:
    """Return how many damaged copies of a file were taken and refused; all else is raised."""
    content, taken, refused = path.read_bytes(), 0, 0
    use()
    for mutant in mutate(content, path.suffix, count):
        path.write_bytes(mutant)
        try:
            use()
            taken += 1
        except (InputError, EnvironmentFailure) as error:
            assert "\n" not in str(error) and str(path.parent) in str(error), str(error)
            assert len(str(error)) < 4_000
            refused += 1
        finally:
            path.write_bytes(content)
    assert refused
    return taken, refused


@pytest.mark.fault("R1")
def test_any_metrics_json_is_refused_or_can_be_shown(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(make_metrics()))

    def use() -> None:
        metrics = read_metrics(path)
        assert render_metrics(metrics).count(FLOOR) == 1
        assert all(abs(value) <= LARGEST for value in flatten(metrics).values())

    taken, refused = try_mutants(path, use, 400)
    assert taken and refused > 200


def test_metrics_without_lpips_or_published_before_are_taken(tmp_path):
    path = tmp_path / "metrics.json"
    later = {"intervals_of_sets": "mean", "warnings": ["one"]}
    for metrics in (make_metrics(lpips=False), make_metrics() | later):
        path.write_text(json.dumps(metrics))
        assert read_metrics(path) == metrics
    metrics["floor"]["kid"] = None  # only LPIPS may be unmeasured
    path.write_text(json.dumps(metrics))
    with pytest.raises(InputError, match=r"metrics.json floor kid: .*the stage evaluate"):
        read_metrics(path)


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> tuple[Path, Callable[[], None]]:
    """The folder of an experiment of noise, and what writes its report."""
    folder = tmp_path_factory.mktemp("report")
    inputs = write_artifacts(folder)
    del inputs["sample"]
    inputs["figures"] = folder / "figures"
    inputs["figures"].mkdir()
    (folder / "figures/a.png").write_bytes(PNG)
    caption = {"file": "a.png", "title": "t", "caption": "c", "section": "pictures"}
    (folder / "figures/captions.json").write_text(json.dumps([caption]))
    inputs["train"] = folder / "train.safetensors"
    images = read_yaml(ROOT / PARAMS_FILE)["datasets"]["mnist_tiny"]["images"]
    save_tensors(inputs["train"], {"images": torch.zeros(1)}, DatasetConfig(**images))
    params = SimpleNamespace(key="smoke", **read_yaml(ROOT / PARAMS_FILE)["experiments"]["smoke"])
    log = SimpleNamespace(artifact=lambda path: None)
    return folder, lambda: report_stage.run(params, **inputs, out=folder / "out", log=log)


@pytest.mark.parametrize(
    ("file", "count"),
    [
        ("evaluate/metrics.json", 60),
        ("figures/captions.json", 60),
        ("train_vae/history.csv", 60),
        ("tune_ddpm/trials.csv", 60),
    ],
)
def test_the_report_is_written_or_says_which_file_is_damaged(report, file, count):
    folder, write = report
    try_mutants(folder / file, write, count)


def test_a_best_yaml_of_other_params_is_one_line(report):
    folder, write = report
    path = folder / "tune_ddpm/best.yaml"
    content = path.read_text()
    for other in ("vae: 3", "nothing: {a: 1}", "vae: {nothing: 1}", "1: {a: 1}", "key: {a: 1}"):
        path.write_text(other)
        with pytest.raises(InputError, match=r"best.yaml .*again with the stage tune_ddpm"):
            write()
    path.write_text(content)


TABLES = {
    "history.csv": (lambda: make_results(8).histories["vae"], read_history),
    "trials.csv": (lambda: make_trials()[0], read_trials),
    "importances.csv": (lambda: make_trials()[1], read_importances),
    "per_image.csv": (
        lambda: make_results(8).per_image,
        lambda folder: read_per_image(folder / "per_image.csv"),
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_any_table_of_a_stage_is_taken_or_refused(tmp_path, name):
    make, read = TABLES[name]
    folder = tmp_path / "stage"
    folder.mkdir()
    make().to_csv(folder / name, index=False)
    try_mutants(folder / name, lambda: read(folder))


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("history.csv", "train_loss", "1e300"),
        ("history.csv", "epoch", "1e300"),
        ("history.csv", "validation_loss", "-1e39"),
        ("trials.csv", "value", "1e300"),
        ("trials.csv", "diffusion.beta_end", "1e300"),
        ("trials.csv", "number", "9" * 30),
        ("importances.csv", "importance", "1e300"),
        ("importances.csv", "importance", "1.5"),
        ("importances.csv", "importance", "-1e-9"),
        ("per_image.csv", PAIRED[0], "1e39"),
    ],
)
@pytest.mark.fault("R1", "T9")
def test_a_number_that_no_stage_can_have_measured_is_refused_by_name(tmp_path, name, column, value):
    make, read = TABLES[name]
    table = make().astype({column: object})
    table.loc[table.index[0], column] = value
    table.to_csv(tmp_path / name, index=False)
    with pytest.raises(InputError, match=f"{tmp_path / name}: column {column} must hold"):
        read(tmp_path)


# The largest and the smallest numbers that are taken, together and apart.
@pytest.mark.parametrize("values", [(1e38, -1e38), (1e38, 5e-324), (1e16, 1e16 + 2)])
def test_all_numbers_that_are_taken_can_be_drawn(tmp_path, values):
    def read(name: str, *columns: str) -> pd.DataFrame:
        table = TABLES[name][0]().astype(dict.fromkeys(columns, float))
        for column in columns:
            table.loc[table.index[:2], column] = values
        table.to_csv(tmp_path / name, index=False)
        return TABLES[name][1](tmp_path)

    trials = read("trials.csv", "value", "diffusion.beta_end")
    history = read("history.csv", "train_loss", "validation_loss")
    metrics = make_metrics()
    low, high = sorted(values)
    metrics["generated"]["ddpm"]["frechet"] = {"value": values[0], "low": low, "high": high}
    with figure_style():
        for figure in (
            draw_history(trials, "red"),
            draw_slices(trials, "red"),
            draw_losses(dict.fromkeys(MODEL_NAMES, history)),
            draw_paired_metrics(read("per_image.csv", *PAIRED[:2])),
            draw_distances(metrics),
        ):
            save_figure(figure, tmp_path / "figure.png")


def test_any_chapter_is_refused_or_shown(tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "chapter.json").write_text(json.dumps(CHAPTER))
    (folder / "a.png").write_bytes(PNG)
    (folder / "a.csv").write_text("name,value,low,high\nx,1.5,1.0,2.0\ny,2.5,2.0,3.0\n")
    params = {name: "toy" for name in ("dataset", "other_dataset", "experiment")}
    for name in ("a.csv", "chapter.json"):
        try_mutants(
            folder / name, lambda: build_overview("toy", params, [read_study(folder, "one")]), 60
        )


@pytest.mark.parametrize(
    ("file", "content", "use"),
    [
        ("cards.csv", CARDS, lambda path: read_cards(path, 2)),
        ("sampler.json", json.dumps(SAMPLER), lambda path: read_as(SamplerConfig, path, "again")),
        (
            "default.json",
            json.dumps(
                {
                    "files": {},
                    "params": {},
                    "num_images": 6,
                    "sampler": SAMPLER,
                    "converged": {},
                    "measured": {"a": 1.5},
                    "chosen": {"num_steps": 7},
                    "confirmed": True,
                    "confirmation": None,
                }
            ),
            lambda path: read_as(Choice, path, "again"),
        ),
        (
            "evaluate.json",
            '{"seconds": 1.5, "peak_memory_mb": 3.0, "x_seconds_per_image": 0.5}',
            lambda path: add_timings(
                "<!-- timings --><!-- end of timings -->",
                {"evaluate": read_mapping(path, float, "delete it")},
                "CPU",
            ),
        ),
    ],
)
def test_any_other_file_is_taken_or_refused(tmp_path, file, content, use):
    path = tmp_path / file
    path.write_text(content)
    try_mutants(path, lambda: use(path))


@pytest.mark.parametrize("stage", ["compress", "ablate", "frontier"])
def test_any_published_table_is_refused_or_rendered(tmp_path, stage):
    published = ROOT / "docs/results/cpu_mnist/mnist"
    for path in published.iterdir():
        if path.suffix in (".csv", ".yaml", ".json"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    name = "frontier_frontier.csv" if stage == "frontier" else f"{stage}_table.csv"
    try_mutants(tmp_path / name, lambda: render_stage(stage, tmp_path), 12)


def test_a_picture_that_is_none_is_one_line(tmp_path):
    path = tmp_path / "a.png"
    for content in (b"", PNG[:10], b"GIF89a" + bytes(40)):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a.png: is no PNG picture; draw it again"):
            read_png(path, "draw it again")


def test_half_a_character_is_refused_before_a_page_is_written(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"title": "\\ud800"}')
    with pytest.raises(InputError, match="a.json: cannot be read .*surrogates"):
        read_mapping(path, str, "again")


def test_a_missing_file_is_one_line(tmp_path):
    path = tmp_path / "a"
    for read in (
        lambda: read_table(path, {}, "again"),
        lambda: read_png(path, "again"),
        lambda: read_mapping(path, float, "again"),
        lambda: read_metrics(path),
    ):
        with pytest.raises(InputError, match=r"a: cannot be read \(No such file.*again"):
            read()
