"""Files of tensors: round trip, bytes, damage."""

import resource
import signal
import subprocess
import sys

import pytest
import torch

from diffusevae.core.errors import EnvironmentFailure, InputError
from diffusevae.core.tensor_file import load_config, load_tensors, save_tensors, sha256_of


def test_tensors_and_configuration_come_back(tmp_path):
    path = tmp_path / "new" / "model.safetensors"
    tensors = {"b": torch.arange(6).reshape(2, 3), "a": torch.rand(2).half()}
    save_tensors(path, tensors, {"size": 3, "name": "x"})
    loaded = load_tensors(path)
    assert {k: v.tolist() for k, v in loaded.items()} == {k: v.tolist() for k, v in tensors.items()}
    assert load_config(path) == {"size": 3, "name": "x"}
    assert list(path.parent.iterdir()) == [path]  # no temporary file is left


def test_bytes_depend_on_the_content_only(tmp_path):
    for name, keys in (("one", "abc"), ("two", "cba")):
        save_tensors(
            tmp_path / name, {k: torch.full((3,), ord(k)) for k in keys}, {k: 1 for k in keys}
        )
    assert sha256_of(tmp_path / "one") == sha256_of(tmp_path / "two")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04pickle", b"\xff" * 100])
@pytest.mark.fault("T5")
def test_damaged_files_are_one_clear_error(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    for load in (load_tensors, load_config):
        with pytest.raises(InputError, match="not a readable safetensors file"):
            load(path)


@pytest.mark.fault("T5")
def test_truncated_and_missing_files(tmp_path):
    path = tmp_path / "model.safetensors"
    save_tensors(path, {"a": torch.rand(100)})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_tensors(path)
    with pytest.raises(InputError, match="no such file"):
        load_tensors(tmp_path / "none")


def test_a_file_without_configuration_says_so(tmp_path):
    save_tensors(tmp_path / "a", {"a": torch.rand(1)})
    with pytest.raises(InputError, match="carries no configuration"):
        load_config(tmp_path / "a")


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "model.safetensors"
    save_tensors(path, {"a": torch.zeros(1)})
    (tmp_path / ".model.safetensors.partial").mkdir()  # the temporary name cannot be written
    with pytest.raises((EnvironmentFailure, OSError)):
        save_tensors(path, {"a": torch.ones(1)})
    assert load_tensors(path)["a"].item() == 0


def test_a_process_that_is_killed_while_it_writes_leaves_nothing_that_stays(tmp_path):
    """The kernel kills it where a file becomes longer than allowed."""
    path = tmp_path / "model.safetensors"
    code = (
        "import pathlib, sys, torch; from diffusevae.core.tensor_file import save_tensors; "
        "save_tensors(pathlib.Path(sys.argv[1]), {'a': torch.zeros(10**6)})"
    )

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))

    # Python itself would ignore the signal, and the write would fail instead.
    code = f"import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL); {code}"
    died = subprocess.run([sys.executable, "-c", code, path], preexec_fn=limit, timeout=120)
    assert died.returncode == -signal.SIGXFSZ and not path.exists()
    assert len(list(tmp_path.iterdir())) == 1  # it was at it
    save_tensors(path, {"a": torch.zeros(1)})
    assert list(tmp_path.iterdir()) == [path]
