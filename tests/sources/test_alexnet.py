import io
import pickle
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch

from diffusevae.core.torchvision_import import ensure_torchvision
from diffusevae.sources import alexnet
from diffusevae.sources.pinned import ASSETS
from diffusevae.sources.transfer import SourceFailure
from tests.support.real_data import raw_folder

MAX_BYTES = 20_000_000


@pytest.fixture(scope="module")
def tensors():
    generator = torch.Generator().manual_seed(0)
    result = {}
    for layer, shape in alexnet.SHAPES.items():
        result[f"{layer}.weight"] = torch.rand(shape, generator=generator)
        result[f"{layer}.bias"] = torch.rand(shape[0], generator=generator)
    return result


@pytest.fixture(scope="module")
def arrays(tensors):
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def saved(state: object) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_hash_depends_on_names_shapes_and_values_not_on_order(arrays):
    hashed = alexnet.hash_tensors(arrays)
    assert alexnet.hash_tensors(dict(reversed(arrays.items()))) == hashed
    changed = arrays | {"0.bias": arrays["0.bias"].copy()}
    changed["0.bias"][3] += 1e-6
    renamed = dict(arrays)
    renamed["1.bias"] = renamed.pop("0.bias")
    reshaped = arrays | {"0.bias": arrays["0.bias"].reshape(8, 8)}
    doubled = arrays | {"0.bias": arrays["0.bias"].astype(np.float64)}
    for other in (changed, renamed, reshaped, doubled):
        assert alexnet.hash_tensors(other) != hashed


def test_features_and_whole_network_unpack_to_the_same_bytes(tensors, arrays):
    features = alexnet.from_state_dict(saved(tensors), MAX_BYTES)
    whole = {f"features.{name}": tensor for name, tensor in tensors.items()}
    whole["classifier.1.weight"] = torch.zeros(3)
    assert alexnet.from_state_dict(saved(whole), MAX_BYTES) == features
    assert alexnet.hash_content(features) == alexnet.hash_tensors(arrays)


def test_flax_kernels_are_turned_to_out_in_height_width(tensors):
    layers = {}
    for number, layer in enumerate(alexnet.SHAPES):
        kernel = np.ascontiguousarray(tensors[f"{layer}.weight"].permute(2, 3, 1, 0).numpy())
        layers[f"Conv_{number}"] = {"kernel": kernel, "bias": tensors[f"{layer}.bias"].numpy()}
    packed = pickle.dumps({"AlexNet_0": layers}, protocol=3)
    found = safetensors.torch.load(alexnet.from_flax(packed, MAX_BYTES))
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


@pytest.mark.fault("S5")
def test_no_code_in_a_file_is_run(tmp_path):
    canary = tmp_path / "canary"
    with pytest.raises(SourceFailure, match="no AlexNet checkpoint"):
        alexnet.from_flax(pickle.dumps(Payload(canary), protocol=3), MAX_BYTES)
    with pytest.raises(SourceFailure, match="no AlexNet state dict"):
        alexnet.from_state_dict(saved({"0.weight": Payload(canary)}), MAX_BYTES)
    assert not canary.exists()


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04", saved({"x": torch.zeros(1)})])
def test_other_content_is_refused(content):
    with pytest.raises(SourceFailure):
        alexnet.from_state_dict(content, MAX_BYTES)
    with pytest.raises(SourceFailure):
        alexnet.from_flax(content, MAX_BYTES)
    assert alexnet.hash_content(content) != ASSETS["alexnet"].files[0].content_hash


@pytest.mark.fault("D14")
def test_zip_bomb_is_refused_before_it_is_unpacked():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(MAX_BYTES + 1))
    with pytest.raises(SourceFailure, match="unpacks to more"):
        alexnet.from_state_dict(file.getvalue(), MAX_BYTES)


def test_real_features_fit_torchvisions_network():
    tensors = safetensors.torch.load_file(raw_folder("alexnet") / "features.safetensors")
    ensure_torchvision()
    import torchvision

    torchvision.models.alexnet().features.load_state_dict(tensors, strict=True)
