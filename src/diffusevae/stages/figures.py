"""Draw every figure of an experiment, with captions.

python -m diffusevae.stages figures smoke \\
    --train_vae artifacts/smoke/train_vae --train_ddpm artifacts/smoke/train_ddpm \\
    --train_diffusevae artifacts/smoke/train_diffusevae \\
    --tune_vae artifacts/smoke/tune_vae --tune_ddpm artifacts/smoke/tune_ddpm \\
    --sample artifacts/smoke/sample --evaluate artifacts/smoke/evaluate \\
    --out artifacts/smoke/figures
"""

from pathlib import Path

from diffusevae.core.stage_log import StageLog
from diffusevae.figures.catalogue import draw_all
from diffusevae.figures.drawing import figure_style
from diffusevae.figures.result_files import load_results, save_drawn
from diffusevae.figures.results import FiguresConfig

ROOT = "experiments"
SECTIONS = {"seed": int, "figures": FiguresConfig}


def run(
    params,
    *,
    train_vae: Path,
    train_ddpm: Path,
    train_diffusevae: Path,
    tune_vae: Path,
    tune_ddpm: Path,
    sample: Path,
    evaluate: Path,
    out: Path,
    log: StageLog,
) -> None:
    """Write *.png and captions.json to `out`."""
    stages = dict(sample=sample, evaluate=evaluate, tune_vae=tune_vae, tune_ddpm=tune_ddpm)
    stages |= dict(train_vae=train_vae, train_ddpm=train_ddpm, train_diffusevae=train_diffusevae)
    results = load_results(stages)
    with figure_style():
        save_drawn(out, draw_all(results, params.figures, params.seed), log)
    log.artifact(out)
