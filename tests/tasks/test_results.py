"""The published numbers: none that did not come from the run dvc.lock knows."""

import json
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

import tasks.results as results
from command.line import main
from diffusevae.core.errors import InputError
from diffusevae.metrics.metric import PAIRED
from diffusevae.report.claims import CLAIMS, judge_ours
from diffusevae.report.reference_study import Scale
from tasks.dvc.excerpt import find_hash, read_excerpt
from tasks.dvc.outputs import hash_output
from tasks.report import ledger, result_tables
from tests.support.toy_artifacts import make_metrics

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(path.parent for path in (ROOT / "docs/results").glob("*/*/metrics.json"))


@pytest.fixture
def root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_the_readme_s_numbers_are_those_of_the_results(root):
    text = results.README.read_text()
    folder = results.RESULTS / results.README_EXPERIMENT / "mnist"
    assert text == results.fill(text, result_tables.render_metrics(results.load_metrics(folder)))


def test_the_ledger_is_what_the_results_give(root):
    assert results.CLAIMS_FILE.read_text() == results.render_claims()


def committed_lock() -> dict:
    """The lock that was published: a run changes the working copy, on another machine at least."""
    shown = subprocess.run(["git", "show", "HEAD:dvc.lock"], cwd=ROOT, capture_output=True)
    text = shown.stdout if shown.returncode == 0 else (ROOT / "dvc.lock").read_bytes()
    return YAML(typ="safe", pure=False).load(text)


@pytest.fixture(scope="module")
def locks() -> list[dict]:
    """The committed lock; and the working one, of results that are not committed yet."""
    return [committed_lock(), YAML(typ="safe").load((ROOT / "dvc.lock").read_bytes())]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_results_are_those_that_the_lock_vouches_for(root, locks, folder):
    excerpt = read_excerpt(folder)
    stages = [lock["stages"] for lock in locks]
    assert any(
        all(
            part in lock.get(target, {}).items()
            for target, entry in excerpt.items()
            for part in entry.items()
        )
        for lock in stages
    )
    made = Path("artifacts") / folder.parent.name
    page = (folder / "README.md").read_text()
    digest = hash_output(folder / "metrics.json")
    assert digest == find_hash(excerpt, made / "evaluate/metrics.json")
    for stage in results.ON_THE_PAGE:
        for path in folder.glob(f"{stage}_*"):
            locked = find_hash(excerpt, made / stage / path.name.removeprefix(f"{stage}_"))
            assert hash_output(path) == locked
        assert "\n".join(result_tables.render_stage(stage, folder)) in page
    assert digest in page and result_tables.render_metrics(results.load_metrics(folder)) in page
    assert all(f"({picture.name})" in page for picture in folder.glob("*.png"))


IMAGES = {"source": "mnist", "train_images": 16_000, "validation_images": 1000}


def write_lock(source: str = "mnist", trainings: dict | None = None, **more: dict) -> None:
    """Write a dvc.lock that vouches for what lies in artifacts/quickstart, and for trainings."""
    made = Path("artifacts/quickstart")

    def entry(params: dict, *outs: Path) -> dict:
        listed = [{"path": str(path), "md5": hash_output(path)} for path in outs]
        return {"params": {"params.yaml": params}, "outs": listed}

    stages = {
        "prepare@mnist_16k": entry({"datasets.mnist_16k.images": IMAGES | {"source": source}}),
        "train_vae@quickstart": entry({"experiments.quickstart.train_vae": {"epochs": 2}}),
        "train_diffusevae@quickstart": entry(
            {"experiments.quickstart.train_diffusevae": {"epochs": 1}}
        ),
        "evaluate@quickstart": entry({}, made / "evaluate/metrics.json"),
        "figures@quickstart": entry({}, made / "figures"),
    }
    for stage, section in more.items():
        stages[f"{stage}@quickstart"] = entry(
            {f"experiments.quickstart.{stage}": section}, *sorted((made / stage).iterdir())
        )
    for name, shift in (trainings or {}).items():
        stages[f"evaluate@{name}"] = make_training(name, shift)
    with open("dvc.lock", "w") as file:
        YAML().dump({"schema": "2.0", "stages": stages}, file)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder with the results of quickstart, made of noise, and a lock that vouches for them."""
    for name in ("params.yaml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    made = Path("artifacts/quickstart/evaluate/metrics.json")
    made.parent.mkdir(parents=True)
    made.write_text(json.dumps(make_metrics()))
    (tmp_path / "artifacts/quickstart/figures").mkdir()
    (tmp_path / "artifacts/quickstart/figures/generated.png").write_bytes(b"picture")
    write_lock()
    return tmp_path


def test_publishing_writes_every_text_and_again_changes_none(checkout):
    assert main(["results", "quickstart"], Path()) == 0
    texts = {
        path: path.read_bytes()
        for path in (
            Path("README.md"),
            Path("docs/claims.md"),
            Path("docs/results/quickstart/mnist/README.md"),
        )
    }
    assert b"1,234 held-out test images" in texts[Path("README.md")]
    assert Path("docs/results/quickstart/mnist/figures_generated.png").read_bytes() == b"picture"
    assert main(["results", "quickstart"], Path()) == 0
    assert all(path.read_bytes() == text for path, text in texts.items())


def make_training(name: str, shift: float, count: int = 20) -> dict:
    """Write what `evaluate` leaves of one more training; return its entry of dvc.lock."""
    made = Path(f"artifacts/{name}/evaluate")
    made.mkdir(parents=True, exist_ok=True)
    (made / "metrics.json").write_text(json.dumps(make_metrics()))
    rows = [
        {"index": i, "label": 0, "model": model} | dict.fromkeys(PAIRED, i / 100 + distance + shift)
        for model, distance in (("vae", 0.0), ("stretched", 0.1), ("diffusevae", 0.3))
        for i in range(count)
    ]
    pd.DataFrame(rows).to_csv(made / "per_image.csv", index=False)
    listed = [made / file for file in ("metrics.json", "per_image.csv")]
    return {"outs": [{"path": str(path), "md5": hash_output(path)} for path in listed]}


def test_trainings_that_differ_in_the_seed_alone_are_published_and_judged_together(checkout):
    write_lock(trainings={"quickstart": -0.01, "quickstart_seed1": 0.01})
    assert main(["results", "quickstart"], Path()) == 0
    folder = Path("docs/results/quickstart/mnist")
    table = pd.read_csv(folder / "trainings.csv").set_index(["model", "metric"])
    assert table.loc[("vae", "ssim"), "value"] == pytest.approx(0.095)  # the mean of 0 .. 0.19
    for name, distance in (("difference", 0.3), ("control", 0.2)):
        assert table.loc[(name, "ssim"), ["low", "high"]].tolist() == pytest.approx([distance] * 2)
    page = (folder / "README.md").read_text()
    assert "## Over 2 trainings" in page and "0.300 [0.300, 0.300]" in page
    [row] = [line for line in Path("docs/claims.md").read_text().splitlines() if "(SSIM)" in line]
    cells = row.split(" | ")
    assert cells[3:7] == ["ssim 0.300 [0.300, 0.300]", "0.200 [0.200, 0.200]", "2", "holds"]
    assert "evaluate@quickstart_seed1" in read_excerpt(folder)


def test_trainings_on_other_images_are_not_compared(checkout, capsys):
    write_lock(trainings={"quickstart": 0.0, "quickstart_seed1": 0.0})
    entry = make_training("quickstart_seed1", 0.0, count=19)
    lock = YAML(typ="safe").load(Path("dvc.lock"))
    lock["stages"]["evaluate@quickstart_seed1"] = entry
    YAML().dump(lock, Path("dvc.lock"))
    assert main(["results", "quickstart"], Path()) == 2
    assert "not measured on the same images; run them anew" in capsys.readouterr().err


def test_results_that_the_lock_does_not_know_are_not_published(checkout, capsys):
    Path("artifacts/quickstart/evaluate/metrics.json").write_text("{}")
    assert main(["results", "quickstart"], Path()) == 2
    assert "is not what dvc.lock holds; run `make run" in capsys.readouterr().err
    assert not Path("docs").exists()


def test_figures_that_the_lock_does_not_know_are_not_published(checkout, capsys):
    Path("artifacts/quickstart/figures/generated.png").write_bytes(b"of another run")
    assert main(["results", "quickstart"], Path()) == 2
    assert "quickstart/figures: is not what dvc.lock holds" in capsys.readouterr().err
    assert not Path("docs").exists()


def test_what_is_published_quotes_the_params_it_was_made_with(checkout):
    make_compression()
    write_lock(compress=COMPRESS)
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("num_test_images: 1000", "num_test_images: 7"))
    assert main(["results", "quickstart"], Path()) == 0
    folder = Path("docs/results/quickstart/mnist")
    page = (folder / "README.md").read_text()
    assert "345 test images; PCA fitted to all training images; VAEs of 3 seeds" in page
    Path("dvc.lock").unlink()  # nor does a later run change the page
    assert "\n".join(result_tables.render_stage("compress", folder)) in page


@pytest.mark.parametrize(("source", "folder"), [("mnist", "mnist"), ("my_pictures", "mnist_16k")])
def test_the_studys_claims_are_judged_for_its_own_images_only(checkout, source, folder):
    """Whatever the data set is called."""
    write_lock(source)
    assert main(["results", "quickstart"], Path()) == 0
    assert Path(f"docs/results/quickstart/{folder}/metrics.json").is_file()
    assert (CLAIMS[0].text in Path("docs/claims.md").read_text()) == (source == "mnist")


def test_a_claim_is_not_judged_at_another_scale_than_the_studys(checkout, monkeypatch):
    def verdicts(text: str) -> list[str]:
        [row] = [line for line in text.splitlines() if line.startswith(f"| {CLAIMS[0].text}")]
        return row.split(" | ")[6:8]

    assert main(["results", "quickstart"], Path()) == 0
    text = Path("docs/claims.md").read_text()
    ours = judge_ours(CLAIMS[0], make_metrics()["paired"])
    assert verdicts(text) == [ours, "not comparable"]
    assert "16,000 training images, epochs: VAE 2, DiffuseVAE 1; 1,234 test images" in text
    monkeypatch.setattr(ledger, "STUDY_SCALE", Scale(16_000, 2, 1, 1_234))
    assert verdicts(results.render_claims()) == [ours, ours]


COMPRESS = {"num_test_images": 345, "seeds": [0, 1, 2], "num_train_images": 8000, "epochs": [1]}


def make_compression() -> None:
    """Write what the stage compress leaves."""
    made = Path("artifacts/quickstart/compress")
    made.mkdir()
    row = {"code": "1 x 4 x 4", "numbers": 16, "num_seeds": 3}
    for name in ("mse", "ssim"):
        row |= {
            f"{name}_pca": 0.5,
            f"{name}_vae": 0.25,
            f"{name}_change": -0.25,
            f"{name}_low": -0.375,
            f"{name}_high": -0.125,
        }
    pd.DataFrame([row]).to_csv(made / "table.csv", index=False)
    for name in ("table.png", "images.png"):
        (made / name).write_bytes(b"picture")


def test_what_a_stage_on_demand_left_is_published_where_the_lock_knows_it(checkout, capsys):
    make_compression()
    assert main(["results", "quickstart"], Path()) == 2
    assert (
        "table.csv: is not what dvc.lock holds; run `dvc repro compress@quickstart`"
        in capsys.readouterr().err
    )
    write_lock(compress=COMPRESS)
    assert main(["results", "quickstart"], Path()) == 0
    page = Path("docs/results/quickstart/mnist/README.md").read_text()
    assert "| 1 x 4 x 4 | 16 | 0.50000 | 0.25000 | −0.25000 [−0.37500, −0.12500] |" in page
    text = Path("docs/claims.md").read_text()
    assert "| compress.1x4x4.mse_change | −0.25000 [−0.37500, −0.12500] |" in text
    assert hash_output(Path("artifacts/quickstart/compress/table.csv"))[:12] in text


def test_a_readme_without_its_marks_is_left_alone():
    with pytest.raises(InputError, match="put them back"):
        results.fill("no marks", "tables")


def test_further_measures_are_shown_where_the_table_has_them(tmp_path):
    """They are of diffusion models, so the VAE alone has none."""
    folder = tmp_path / "mnist"
    shutil.copytree(ROOT / "docs/results/cpu_mnist/mnist", folder)
    table = pd.read_csv(folder / "ablate_table.csv")
    for part in ("", "_low", "_high"):
        table[f"bits_per_dim{part}"] = [float("nan")] + [1.25] * (len(table) - 1)
    table.to_csv(folder / "ablate_table.csv", index=False)
    lines = result_tables.render_stage("ablate", folder)
    head, _, alone, first = [line for line in lines if line.startswith("|")][:4]
    assert head.endswith("| HistSim ↓ | Bits per dimension ↓ |")
    assert alone.endswith(f"| {result_tables.NOT_MEASURED} |")
    assert first.endswith("| 1.25 [1.25, 1.25] |")
