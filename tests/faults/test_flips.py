"""A bit that flips in what a run left is found before the file is used."""

import pytest

from tests.faults.flips import copy_results, list_kept, try_flips, write_checkpoints

KINDS = ["cache", "checkpoint", "download", "model", "output"]


@pytest.mark.fault("D3", "T3", "F11", "R4")
def test_a_flipped_bit_is_found_wherever_it_is(smoke_checkout, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("diffusevae.training.checkpointer.SECONDS_BETWEEN", 0)
    copy_results(smoke_checkout, tmp_path)
    write_checkpoints()
    assert sorted({each.kind for each in list_kept()}) == KINDS
    found, missed = try_flips(100, seed=0)
    assert missed == [] and found == dict.fromkeys(KINDS, 20)
