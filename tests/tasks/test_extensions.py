"""What stages on demand found, published: no file but those that a lock vouched for."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

import tasks.results as results
from command.line import main
from diffusevae.core.errors import InputError
from diffusevae.stages.names import ON_DEMAND
from tasks.dvc.excerpt import find_hash, read_excerpt, trace_excerpt
from tasks.dvc.outputs import hash_output
from tasks.report.extension_page import find_bounds, read_words, render_tables
from tasks.report.extensions import EXTENSIONS, INDEX, render_index
from tests.support.checkouts import ROOT

PUBLISHED = sorted(path.parent for path in (ROOT / EXTENSIONS).glob("*/*/README.md"))


@pytest.mark.parametrize("stage", ON_DEMAND)
def test_every_stage_on_demand_says_what_its_tables_are(stage):
    words = read_words(stage)
    assert all(isinstance(words[key], str) for key in ("asks", "intervals"))
    assert all(isinstance(text, str) for text in words["columns"].values())


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: "-".join(folder.parts[-2:]))
def test_what_is_published_is_what_was_vouched_for(folder, monkeypatch):
    monkeypatch.chdir(ROOT)
    stage, name = folder.parts[-2:]
    excerpt = read_excerpt(folder)
    for path in set(folder.iterdir()) - {folder / "README.md", folder / "lock.yaml"}:
        locked = {
            out["md5"]
            for out in excerpt[f"{stage}@{name}"]["outs"]
            if Path(out["path"]).name == path.name
        }
        assert locked == {hash_output(path)}
    page = (folder / "README.md").read_text()
    assert "\n".join(render_tables(folder, excerpt)) in page
    assert all(f"({picture.name})" in page for picture in folder.glob("*.png"))


def test_the_index_lists_what_is_published(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = INDEX.read_text()
    assert text == results.fill(text, render_index())


ROW = {"damaged": "image", "kind": "noise", "strength": 0.4, "repaired": -0.25}
MADE = Path("artifacts/quickstart/robustness")
SECTION = {"num_images": 345, "num_resamples": 7}


def make_table(**more: object) -> None:
    row = ROW | {"repaired_low": -0.5, "repaired_high": 1e-6} | more
    MADE.mkdir(parents=True, exist_ok=True)
    pd.DataFrame([row]).to_csv(MADE / "table.csv", index=False)
    (MADE / "images.png").write_bytes(b"picture")


def entry(params: dict, outs: list[Path], deps: dict[str, str] | None = None) -> dict:
    return {
        "cmd": "exec",
        "deps": [{"path": path, "md5": md5} for path, md5 in (deps or {}).items()],
        "params": {"params.yaml": params},
        "outs": [{"path": str(path), "md5": hash_output(path)} for path in outs],
    }


def write_lock(outs: list[Path]) -> None:
    """Write a dvc.lock in which robustness@quickstart made these files."""
    trained = Path("artifacts/quickstart/train_vae")
    trained.mkdir(exist_ok=True)
    params = {"experiments.quickstart.seed": 3, "experiments.quickstart.robustness": SECTION}
    stages = {
        "train_vae@quickstart": entry(
            {"experiments.quickstart.train_vae": {"epochs": 2}}, [trained]
        ),
        "evaluate@quickstart": entry({}, []),
        "robustness@quickstart": entry(params, outs, {str(trained): hash_output(trained)}),
    }
    with open("dvc.lock", "w") as file:
        YAML().dump({"schema": "2.0", "stages": stages}, file)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder in which robustness@quickstart ran, and a lock that vouches for what it left."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    INDEX.parent.mkdir()
    INDEX.write_text(f"Before\n{results.START}\n{results.END}\nafter\n")
    make_table()
    write_lock([MADE / "table.csv", MADE / "images.png"])


def test_a_stage_is_published_with_a_page_made_of_its_table(checkout):
    assert main(["results", "quickstart", "robustness"], Path()) == 0
    folder = EXTENSIONS / "robustness/quickstart"
    assert (folder / "images.png").read_bytes() == b"picture"
    page = (folder / "README.md").read_text()
    assert "`seed: 3`, `num_images: 345`, `num_resamples: 7`." in page
    assert "- `repaired`: MSE of x_hat less MSE of the refinement" in page
    assert "| image | noise | 0.4 | −0.250 [−0.500, 1.00 · 10⁻⁶] |" in page
    assert "![images](images.png)" in page
    excerpt = read_excerpt(folder)
    assert list(excerpt) == ["train_vae@quickstart", "robustness@quickstart"]
    assert find_hash(excerpt, MADE / "table.csv") == hash_output(folder / "table.csv")
    link = "- `robustness`: [quickstart](results/extensions/robustness/quickstart)"
    assert INDEX.read_text().splitlines()[3] == link
    texts = [path.read_bytes() for path in (INDEX, folder / "README.md", folder / "lock.yaml")]
    assert main(["results", "quickstart", "robustness"], Path()) == 0
    assert [p.read_bytes() for p in (INDEX, folder / "README.md", folder / "lock.yaml")] == texts


def test_of_a_folder_that_is_an_output_no_model_is_published(checkout):
    (MADE / "model.safetensors").write_bytes(b"weights")
    write_lock([MADE])
    assert main(["results", "quickstart", "robustness"], Path()) == 0
    folder = EXTENSIONS / "robustness/quickstart"
    names = {path.name for path in folder.iterdir()}
    assert names == {"table.csv", "images.png", "lock.yaml", "README.md"}


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        (["evaluate"], "evaluate: is no stage on demand; take ablate"),
        (["restore"], "restore@quickstart: dvc.lock does not know it; run `dvc repro restore@"),
    ],
)
def test_what_did_not_run_is_not_published(checkout, capsys, stages, said):
    assert main(["results", "quickstart", *stages], Path()) == 2
    assert said in capsys.readouterr().err
    assert not EXTENSIONS.exists()


def test_what_the_lock_does_not_know_is_not_published(checkout, capsys):
    make_table(repaired=9.0)
    assert main(["results", "quickstart", "robustness"], Path()) == 2
    assert "table.csv: is not what dvc.lock holds; run `dvc repro" in capsys.readouterr().err
    assert not EXTENSIONS.exists()


def test_a_column_without_words_is_not_published(checkout, capsys):
    make_table(charm=9.0)
    write_lock([MADE / "table.csv"])
    assert main(["results", "quickstart", "robustness"], Path()) == 2
    assert "has no words for column charm of table.csv" in capsys.readouterr().err
    assert not EXTENSIONS.exists()


def test_a_stage_whose_output_is_by_now_another_is_not_named_as_its_source():
    def lock(md5: str) -> dict:
        return {
            "stages": {
                "a@x": {"params": {}, "outs": [{"path": "data/a", "md5": "1.dir"}]},
                "b@x": {
                    "deps": [{"path": "data/a/train", "md5": "2"}],
                    "outs": [{"path": "b", "md5": md5}],
                },
                "c@x": {"deps": [{"path": "b", "md5": "3"}], "outs": [{"path": "c", "md5": "4"}]},
            }
        }

    assert list(trace_excerpt(lock("3"), "c@x")) == ["a@x", "b@x", "c@x"]
    assert list(trace_excerpt(lock("5"), "c@x")) == ["c@x"]
    assert trace_excerpt({}, "c@x") == {}


@pytest.mark.parametrize(
    ("name", "columns", "bounds"),
    [
        ("mse", {"mse", "mse_low", "mse_high"}, ("mse_low", "mse_high")),
        ("mse", {"mse", "mse_change", "mse_low", "mse_high"}, ()),
        ("mse_change", {"mse_change", "mse_low", "mse_high"}, ("mse_low", "mse_high")),
        ("value", {"part", "value", "low", "high"}, ("low", "high")),
        ("part", {"part", "value", "low", "high"}, ()),
    ],
)
def test_an_interval_is_that_of_its_own_column(name, columns, bounds):
    assert find_bounds(name, columns) == bounds


def test_a_change_with_an_interval_of_its_own_leaves_the_value_its_own():
    parts = ("", "_low", "_high", "_change", "_change_low", "_change_high")
    columns = {f"d{part}" for part in parts}
    assert find_bounds("d", columns) == ("d_low", "d_high")
    assert find_bounds("d_change", columns) == ("d_change_low", "d_change_high")


def test_what_is_asked_of_an_unknown_stage_is_said_in_one_line():
    with pytest.raises(InputError, match="has no words for charm"):
        read_words("charm")
