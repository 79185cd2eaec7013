"""Measure an experiment's reconstructions and generated images.

python -m diffusevae.stages evaluate smoke \\
    --pairs artifacts/smoke/sample/pairs.safetensors --lpips data/raw/alexnet \\
    --validation artifacts/smoke/sample/validation.safetensors \\
    --generated artifacts/smoke/sample/generated.safetensors \\
    --train data/prepared/mnist/train.safetensors --test data/prepared/mnist/test.safetensors \\
    --classifier data/train_classifier/mnist/model.safetensors --out artifacts/smoke/evaluate
"""

from pathlib import Path

from diffusevae.core.device import choose_device
from diffusevae.core.stage_log import StageLog
from diffusevae.core.tensor_file import load_tensors
from diffusevae.data.dataset import load_split
from diffusevae.metrics.evaluation import EvaluateConfig, evaluate, flatten, save_evaluation
from diffusevae.metrics.perceptual import load_where_possible
from diffusevae.models.classifier import load_classifier

ROOT = "experiments"
SECTIONS = {"seed": int, "evaluate": EvaluateConfig}


def run(
    params,
    *,
    pairs: Path,
    validation: Path,
    generated: Path,
    train: Path,
    test: Path,
    classifier: Path,
    lpips: Path,
    out: Path,
    log: StageLog,
) -> None:
    """Write metrics.json, per_image.csv and corruptions.csv to `out`."""
    device = choose_device()
    images = load_tensors(pairs)
    perceptual, reason = load_where_possible(lpips, min(images["real"].shape[2:]), device)
    if reason:
        log.message(f"LPIPS is left out: {reason}")
    metrics, frame, corruptions = evaluate(
        images,
        load_tensors(validation),
        load_tensors(generated),
        load_split(train),
        load_split(test),
        load_classifier(classifier, device),
        perceptual,
        reason,
        params.evaluate,
        params.seed,
        device,
    )
    save_evaluation(out, metrics, frame, corruptions)
    right = f"every metric answers {len(corruptions) - 1} known corruptions as it must"
    for line in [f"warning: {warning}" for warning in metrics["warnings"]] or [right]:
        log.message(line)
    log.summary(flatten(metrics))
    log.artifact(out / "metrics.json")
