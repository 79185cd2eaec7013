"""What tells one training from any other: only the very same one goes on from a checkpoint."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import torch

from diffusevae.core.device import COMPILED_FROM, launch, precision
from diffusevae.core.import_closure import SOURCE, import_closure
from diffusevae.core.tensor_file import sha256_of


def make_resume_key(
    stage: str,
    params: SimpleNamespace,
    data: Sequence[Path],
    device: torch.device | None,
    without: Mapping[str, Sequence[str]] | None = None,
    source: Path = SOURCE,
) -> str:
    """Return KEY-HASH, the hash changing with all that a stage's result depends on.

    That is its sections of params.yaml (less the keys in `without`, by section), the content of its
    data files, the code that it imports, the version of torch, the kind of device, in which numbers
    networks compute there and how their steps run, in a short training and in a long one. A search
    names no device: its trials are made on any.
    """
    sections = {
        name: dataclasses.asdict(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type)
        else value
        for name, value in vars(params).items()
    }
    for section, keys in (without or {}).items():
        sections[section] = {k: v for k, v in sections[section].items() if k not in keys}
    code = import_closure(f"diffusevae.stages.{stage}", source)
    computed = None
    if device is not None:
        launched = [launch(device, images) for images in (0, COMPILED_FROM)]
        computed = [device.type, precision(device), *launched]
    text = json.dumps(
        [
            sections,
            [sha256_of(path) for path in data],
            torch.__version__,
            computed,
            [sha256_of(path) for path in code],
        ],
        sort_keys=True,
    )
    return f"{params.key}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
