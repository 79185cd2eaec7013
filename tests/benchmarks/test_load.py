"""Load, as little of it as shows that all of it is measured. No test here asks how fast."""

import shutil

from benchmarks import load
from tests.support.checkouts import ROOT


def test_clients_are_answered_and_memory_is_seen(smoke_checkout, capsys):
    found = load.measure_server(smoke_checkout, clients=2, seconds=2)
    said = capsys.readouterr().out
    assert found["served_seconds"].n >= 2 and found["served_memory_under_load"].median >= 1
    assert "refused, by status" in said and "none" in said


def test_a_folder_of_pictures_is_made_and_prepared(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "src").symlink_to(ROOT / "src")
    found = load.measure_folder(tmp_path, files=1000)
    assert found["prepare_many_pictures_megabytes"].median > 50
    assert (tmp_path / "data/prepared/many/train.safetensors").exists()
