"""Files that take no end of time or memory where they are not looked at with care."""

import time
from pathlib import Path

import pytest

from diffusevae.core.errors import InputError
from diffusevae.core.yaml_file import MAX_BYTES, MAX_DEPTH, read_yaml
from diffusevae.experiments.experiment import load_experiment
from tests.support.checkouts import ROOT

# Lists, each of ten times the one before: 10^9 leaves, had one to write them out.
BOMB = "a: &l0 [x]\n" + "".join(
    f"b{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
HANG_SECONDS = 5  # on a loaded machine; each takes milliseconds


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        BOMB + "experiments: *l9\n",
        BOMB + "experiments: {smoke: *l9}\n",
        "experiments: {smoke: " * 3000,
        "- " * 3000 + "x",
        "x" * 10 * MAX_BYTES,
    ],
    ids=["beside", "instead", "within", "deep", "deep blocks", "long"],
)
def test_B5_a_params_file_that_would_take_all_memory_is_one_line(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    start = time.monotonic()
    with pytest.raises(InputError) as caught:
        load_experiment("smoke", path)
    assert time.monotonic() - start < HANG_SECONDS
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 2000


def test_B1_of_a_great_many_faults_the_first_are_told_and_the_rest_counted(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text() + "".join(f"k{i}: 1\n" for i in range(5000)))
    with pytest.raises(InputError, match="k0: unknown key.*; also 4960 more$") as caught:
        load_experiment("smoke", path)
    assert len(str(caught.value)) < 10_000


def test_B5_a_file_without_an_end_is_given_up():
    with pytest.raises(InputError, match=f"at most {MAX_BYTES} bytes are read"):
        read_yaml(Path("/dev/zero"))


def test_B5_brackets_are_as_deep_as_any_file_of_params_needs(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("a: " + "[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert len(read_yaml(path)["a"]) == 1
