"""Measure an experiment's reconstructions and generated images.

python -m diffusevae.stages evaluate smoke \\
    --pairs artifacts/smoke/sample/pairs.safetensors \\
    --generated artifacts/smoke/sample/generated.safetensors \\
    --train data/prepared/mnist/train.safetensors --test data/prepared/mnist/test.safetensors \\
    --classifier data/train_classifier/mnist/model.safetensors \\
    --lpips data/raw/alexnet --out artifacts/smoke/evaluate
"""

import json
from pathlib import Path

from diffusevae.core.device import choose_device
from diffusevae.core.tensor_file import load_tensors
from diffusevae.data.dataset import load_split
from diffusevae.metrics.evaluation import EvaluateConfig, evaluate, flatten
from diffusevae.metrics.perceptual import load_lpips, unavailable
from diffusevae.models.classifier import load_classifier

ROOT = "experiments"
SECTIONS = {"seed": int, "evaluate": EvaluateConfig}


def run(
    params,
    *,
    pairs: Path,
    generated: Path,
    train: Path,
    test: Path,
    classifier: Path,
    lpips: Path,
    out: Path,
    log,
) -> None:
    """Write metrics.json, per_image.csv and corruptions.csv to `out`."""
    device = choose_device()
    images = load_tensors(pairs)
    reason = unavailable(lpips, min(images["real"].shape[2:]))
    if reason is not None:
        log.message(f"LPIPS is left out: {reason}")
    metrics, frame, corruptions = evaluate(
        images,
        load_tensors(generated),
        load_split(train),
        load_split(test),
        load_classifier(classifier, device),
        load_lpips(lpips).to(device) if reason is None else None,
        reason or "",
        params.evaluate,
        params.seed,
        device,
    )
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(metrics, sort_keys=True, indent=2, allow_nan=False)
    (out / "metrics.json").write_text(text + "\n")
    frame.to_csv(out / "per_image.csv", index=False)
    corruptions.to_csv(out / "corruptions.csv", index=False)
    for warning in metrics["warnings"]:
        log.message(f"warning: {warning}")
    if not metrics["warnings"]:
        log.message(f"every metric answers {len(corruptions) - 1} known corruptions as it must")
    log.summary(flatten(metrics))
    log.artifact(out / "metrics.json")
