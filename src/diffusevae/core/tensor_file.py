"""Tensors on disk: safetensors with their configuration in the header, written whole or not."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from diffusevae.core.disk import write_file
from diffusevae.core.errors import InputError

Model = TypeVar("Model")
Network = TypeVar("Network", bound=nn.Module)


def save_tensors(path: Path, tensors: dict[str, Tensor], config: object | None = None) -> None:
    """Write tensors and the configuration (a dataclass or mapping) they need to be used again.

    The bytes depend on the content only. The file appears under its name when it is complete:
    written beside it, flushed, renamed. Raises EnvironmentFailure if it cannot be written.
    """
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        config = dataclasses.asdict(config)
    # One metadata key only: the order of several is not stable from process to process.
    metadata = None if config is None else {"config": json.dumps(config, sort_keys=True)}
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # Not safetensors' save_file: its own temporary file has a new name each time, so that one of a
    # process that was killed would stay, in an output whose files are hashed.
    write_file(path, save(on_cpu, metadata))


def load_tensors(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """Return the tensors of a file. Raises InputError if it is missing or damaged."""
    try:
        return load_file(path, device=device)
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def load_config(path: Path) -> dict:
    """Return the configuration in the header of a file. Raises InputError where there is none."""
    config = _read_config(path)
    if config is None:
        raise InputError(f"{path}: carries no configuration; make it again with its stage")
    return config


def find_config(path: Path) -> dict:
    """Return the configuration in the header of a file, empty where there is none.

    Raises InputError where the file is missing or damaged.
    """
    return _read_config(path) or {}


def _read_config(path: Path) -> dict | None:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error
    if "config" not in metadata:
        return None
    try:
        config = json.loads(metadata["config"])
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(config, dict):
        raise _unreadable(path, ValueError("its configuration is no mapping"))
    return config


def of_one_model(load: Callable[..., Model]) -> Callable[..., Model]:
    """Let a function that loads a model's file raise InputError where the file is another's."""

    @functools.wraps(load)
    def load_it(path: Path, *arguments, **options) -> Model:
        try:
            return load(path, *arguments, **options)
        except torch.OutOfMemoryError:
            raise
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:150]
            raise InputError(
                f"{path}: does not hold the model that is expected ({reason}); make "
                "it again with the stage that writes it"
            ) from error

    return load_it


def freeze(network: Network, path: Path, device: torch.device | str) -> Network:
    """Return a network with the weights of a checkpoint: on the device, eval mode, no gradients."""
    network.load_state_dict(load_tensors(path))
    # torch's stubs know no memory_format
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval().requires_grad_(False)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hex: the identity by which a model finds its MLflow run."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = "no such file" if isinstance(error, FileNotFoundError) else error
    return InputError(
        f"{path}: not a readable safetensors file ({reason}); make it again with "
        "the stage that writes it"
    )
