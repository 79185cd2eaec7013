"""Load, as little of it as shows that all of it is measured. No test here asks how fast."""

import shutil

from safetensors import safe_open

from benchmarks import load
from flows.plan import describe
from tasks.probe.cost import Cost
from tests.support.checkouts import ROOT


def test_clients_are_answered_and_memory_is_seen(smoke_checkout, capsys):
    found = load.measure_server(smoke_checkout, clients=load.CLIENTS, seconds=1)
    said = capsys.readouterr().out
    assert (
        found["served_seconds"].n >= load.CLIENTS and found["served_memory_under_load"].median >= 1
    )
    assert "refused, by status" in said and "none" in said


def test_a_folder_of_pictures_is_made_and_prepared(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    experiment = load.make_pictures(tmp_path, files=1000)
    assert load.list_tried(experiment) == ["prepare@many", "tune_vae@many", "train_vae@many"]
    _, megabytes = load.take(tmp_path, experiment, "prepare@many")
    assert megabytes > 50
    with safe_open(tmp_path / "data/prepared/many/train.safetensors", "pt") as file:
        assert file.get_slice("images").get_shape() == [544, 1, 32, 32]


def test_memory_is_read_as_plan_tells_it():
    costs = {"prepare@many": Cost(61, 7.7e8, 9e7), "train_vae@many": Cost(1, 1.234e10, 5e6)}
    said = "\n".join(describe(target, cost) for target, cost in costs.items())
    told = load.read_plan(f"trying prepare@many, on all there is\n{said}\n")
    assert told == {"prepare@many": 770, "train_vae@many": 12340}
