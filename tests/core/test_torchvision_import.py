import subprocess
import sys

from diffusevae.core import torchvision_import

PROGRAM = """
from diffusevae.core.torchvision_import import ensure_torchvision
ensure_torchvision()
ensure_torchvision()
import torch, torchvision, lpips, torchmetrics.image
assert torchvision.models.AlexNet_Weights.IMAGENET1K_V1.url
assert torchvision.datasets.MNIST.mirrors
boxes, scores = torch.tensor([[0., 0, 9, 9], [0, 0, 9, 9]]), torch.tensor([1., 0.5])
try:
    print("kept", torchvision.ops.nms(boxes, scores, 0.5).tolist())
except (NotImplementedError, RuntimeError):
    print("refused")
"""


def test_torchvision_lpips_and_torchmetrics_import_afterwards():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    # nms is right, or fails loudly; it never returns something else
    assert done.stdout.strip() in ("kept [0]", "refused"), done.stderr


def test_healthy_installation_is_left_alone(monkeypatch):
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(torchvision_import, "_declarations", [])
    monkeypatch.setattr(torchvision_import, "_load_operators", lambda folder: True)
    torchvision_import.ensure_torchvision()
    assert torchvision_import._declarations == []
