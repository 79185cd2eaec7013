"""The cure for torchvision's compiled part not fitting torch, as on a CPU build of torch."""

import sys
from importlib.util import find_spec
from pathlib import Path

import torch

# Without its compiled part torchvision still registers fake versions of these two operators at
# import, which fails where nobody has declared them.
SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
# torch forgets a declaration together with the object that made it.
_declarations: list[torch.library.Library] = []


def ensure_torchvision() -> None:
    """Make `import torchvision` work; call it before importing torchvision, lpips, torchmetrics.

    Does nothing on a healthy installation. Elsewhere it declares the operators nms and qnms without
    an implementation: data sets, transforms and models work, and calling nms still fails loudly.
    """
    if "torchvision" in sys.modules or _declarations:
        return
    found = find_spec("torchvision")
    if found is None or found.origin is None or _load_operators(Path(found.origin).parent):
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in SCHEMAS.values():
        library.define(schema)
    _declarations.append(library)


def _load_operators(package_folder: Path) -> bool:
    """Load torchvision's compiled operators; return whether they are there."""
    for path in sorted(package_folder.glob("_C*.so")) + sorted(package_folder.glob("_C*.pyd")):
        try:
            torch.ops.load_library(path)
        except OSError:
            return False
    return hasattr(torch.ops.torchvision, "nms")
