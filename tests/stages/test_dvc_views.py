"""DVC's own tools on the repository's dvc.yaml: plots, metrics, params, `exp run`, `dvc add`."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo

from diffusevae.stages.__main__ import main
from tests.support.checkouts import ROOT

SHOWN = Path("artifacts/quickstart")
LOSSES = "epoch,train_loss,validation_loss\n1,0.5,0.25\n2,0.25,0.125\n"
FILES = {
    "data/train_classifier/mnist_16k/history.csv": LOSSES,
    SHOWN / "train_vae/history.csv": LOSSES,
    SHOWN / "train_ddpm/history.csv": LOSSES,
    SHOWN / "train_diffusevae/history.csv": LOSSES,
    SHOWN / "tune_vae/trials.csv": "number,value\n0,2.0\n",
    SHOWN / "tune_ddpm/trials.csv": "number,value\n0,3.0\n",
    SHOWN / "evaluate/corruptions.csv": "corruption,strength,frechet\nblur,1.0,9.0\n",
    SHOWN / "frontier/frontier.csv": "num_steps,diffusevae_frechet\n7,12.5\n",
    SHOWN / "frontier/default.json": json.dumps({"measured": {"diffusevae_frechet": 12.5}}),
    SHOWN / "ablate/metrics.json": json.dumps({"in+skip": {"mse": 0.5}}),
    SHOWN / "compress/metrics.json": json.dumps({"4 x 4 x 4": {"mse_vae": 0.25}}),
    SHOWN / "ablate/table.csv": "variant,mse\nfull,0.5\n",
    SHOWN / "compress/table.csv": "numbers,mse_pca,mse_vae\n16,0.5,0.25\n",
    SHOWN / "evaluate/metrics.json": json.dumps({"generated": {"ddpm": 3.0}}),
}
PICTURES = ("distances", "paired_metrics", "generated", "reconstructions", "refinements")


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    command = ["git", *identity, *arguments]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A commit with small results of quickstart, and other ones in the working tree."""
    folder = tmp_path_factory.mktemp("views")
    shutil.copy(ROOT / "params.yaml", folder)
    graph = (ROOT / "dvc.yaml").read_text()
    head, stages = graph.split("\nstages:\n")
    evaluate = stages[stages.index("  evaluate:\n") : stages.index("  figures:\n")]
    (folder / "dvc.yaml").write_text(f"{head}\nstages:\n{evaluate}")  # all take DVC long to read
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / SHOWN / "figures").mkdir()
    for name in PICTURES:
        (folder / SHOWN / f"figures/{name}.png").write_bytes(b"\x89PNG")
    git(folder, "init", "--quiet")
    Repo.init(str(folder)).close()
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "old")
    (folder / SHOWN / "evaluate/metrics.json").write_text('{"generated": {"ddpm": 2.0}}')
    (folder / SHOWN / "train_vae/history.csv").write_text(LOSSES.replace("0.125", "0.0625"))
    params = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(
        params.replace("validation_images: 5000", "validation_images: 4000", 1)
    )
    return folder


def test_plots_draw_every_result_and_both_states(checkout):
    with Repo(str(checkout)) as repo:
        for state, found in repo.plots.show(revs=["HEAD", "workspace"]).items():
            sources = found["sources"]["data"]
            assert all("error" not in source for source in sources.values()), state
            drawn = {Path(name) for name in sources}
            pictures = {SHOWN / f"figures/{name}.png" for name in PICTURES}
            assert drawn >= pictures | {Path(name) for name in FILES if Path(name).suffix == ".csv"}


def test_metrics_have_the_main_numbers_of_every_stage_that_measures(checkout):
    with Repo(str(checkout)) as repo:
        found = repo.metrics.show()[""]["data"]
    shown = {name.removeprefix(f"{SHOWN}/"): file.get("data") for name, file in found.items()}
    assert shown["frontier/default.json"] == {"measured": {"diffusevae_frechet": 12.5}}
    assert shown["ablate/metrics.json"] == {"in+skip": {"mse": 0.5}}
    assert shown["compress/metrics.json"] == {"4 x 4 x 4": {"mse_vae": 0.25}}
    assert shown["evaluate/metrics.json"] == {"generated": {"ddpm": 2.0}}


def test_metrics_and_params_say_what_differs(checkout):
    with Repo(str(checkout)) as repo:
        (metric,) = repo.metrics.diff()["diff"].values()
        assert metric == {"generated.ddpm": {"old": 3.0, "new": 2.0, "diff": -1.0}}
        (params,) = repo.params.diff()["diff"].values()
        assert params["datasets.mnist.images.validation_images"]["new"] == 4000


def test_an_experiment_of_dvc_is_refused_with_the_way_to_do_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_EXP_NAME", "hardy-newt")
    assert main(["prepare", "mnist"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "diffusevae run NAME" in said


def test_own_images_can_be_added_to_dvc_and_git_keeps_what_that_writes(tmp_path, monkeypatch):
    for name in (".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("raw/mine/1.png", "raw/other/1.png", "prepared/mine/train.safetensors"):
        (tmp_path / "data" / name).parent.mkdir(parents=True)
        (tmp_path / "data" / name).write_text("x")
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "--quiet")
    with Repo.init() as repo:
        repo.add("data/raw/mine")
    seen = git(tmp_path, "status", "--porcelain", "--untracked-files=all", "data").split()
    assert [name for name in seen if name != "??"] == ["data/raw/mine.dvc"]
