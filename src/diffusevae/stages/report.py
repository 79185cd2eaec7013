"""Write the report of an experiment: one HTML file that needs nothing else.

python -m diffusevae.stages report smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --figures artifacts/smoke/figures --evaluate artifacts/smoke/evaluate \\
    --train_vae artifacts/smoke/train_vae --train_ddpm artifacts/smoke/train_ddpm \\
    --train_diffusevae artifacts/smoke/train_diffusevae \\
    --tune_vae artifacts/smoke/tune_vae --tune_ddpm artifacts/smoke/tune_ddpm \\
    --out artifacts/smoke/report
"""

from pathlib import Path

from diffusevae.core.stage_log import StageLog
from diffusevae.report.experiment_page import build_report
from diffusevae.report.report_inputs import SHOWN_SECTIONS, load_inputs

ROOT = "experiments"
SECTIONS = {"dataset": str, "seed": int} | dict.fromkeys(SHOWN_SECTIONS, dict)


def run(
    params,
    *,
    train: Path,
    figures: Path,
    evaluate: Path,
    train_vae: Path,
    train_ddpm: Path,
    train_diffusevae: Path,
    tune_vae: Path,
    tune_ddpm: Path,
    out: Path,
    log: StageLog,
) -> None:
    """Write report.html to `out`."""
    stages = dict(figures=figures, evaluate=evaluate, tune_vae=tune_vae, tune_ddpm=tune_ddpm)
    stages |= dict(train_vae=train_vae, train_ddpm=train_ddpm, train_diffusevae=train_diffusevae)
    page = build_report(load_inputs(params, train, stages))
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.html").write_text(page, encoding="utf-8")
    log.artifact(out / "report.html")
