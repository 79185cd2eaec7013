"""Draw every figure of an experiment, with captions.

python -m diffusevae.stages figures smoke \\
    --train_vae artifacts/smoke/train_vae --train_ddpm artifacts/smoke/train_ddpm \\
    --train_diffusevae artifacts/smoke/train_diffusevae \\
    --tune_vae artifacts/smoke/tune_vae --tune_ddpm artifacts/smoke/tune_ddpm \\
    --sample artifacts/smoke/sample --evaluate artifacts/smoke/evaluate \\
    --out artifacts/smoke/figures
"""

import json
from pathlib import Path

from diffusevae.core.params import build
from diffusevae.core.tensor_file import load_config, load_tensors
from diffusevae.figures.catalogue import draw_all
from diffusevae.figures.drawing import figure_style, save_figure
from diffusevae.figures.results import FiguresConfig, Results
from diffusevae.metrics.measured import (
    read_history,
    read_importances,
    read_metrics,
    read_per_image,
    read_trials,
)
from diffusevae.models.diffusion import DiffusionConfig

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
    log,
) -> None:
    """Write *.png and captions.json to `out`."""
    folders = {"vae": train_vae, "ddpm": train_ddpm, "diffusevae": train_diffusevae}
    snapshots = {
        "vae": train_vae / "snapshots",
        "ddpm": sample / "snapshots/ddpm",
        "diffusevae": sample / "snapshots/diffusevae",
    }
    model = train_ddpm / "model.safetensors"  # tuning may have changed the schedule of params.yaml
    results = Results(
        diffusion=build(DiffusionConfig, load_config(model)["diffusion"], str(model)),
        snapshots={
            name: {
                int(path.stem.removeprefix("epoch_")): load_tensors(path)
                for path in sorted(folder.glob("epoch_*.safetensors"))
            }
            for name, folder in snapshots.items()
        },
        histories={name: read_history(folder) for name, folder in folders.items()},
        tuning={
            stage: (read_trials(folder), read_importances(folder))
            for stage, folder in {"tune_vae": tune_vae, "tune_ddpm": tune_ddpm}.items()
        },
        **{
            name: load_tensors(sample / f"{name}.safetensors")
            for name in ("pairs", "generated", "trajectory")
        },
        per_image=read_per_image(evaluate / "per_image.csv"),
        metrics=read_metrics(evaluate / "metrics.json"),
    )
    out.mkdir(parents=True, exist_ok=True)
    captions = []
    with figure_style():
        for drawn in draw_all(results, params.figures, params.seed):
            save_figure(drawn.figure, out / drawn.file)
            captions.append(
                {key: getattr(drawn, key) for key in ("file", "title", "caption", "section")}
            )
            log.message(drawn.title)
    text = json.dumps(captions, indent=2, ensure_ascii=False)
    (out / "captions.json").write_text(text + "\n", encoding="utf-8")
    log.artifact(out)
