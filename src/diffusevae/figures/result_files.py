"""What figures are made of, read from the folders of the stages, and what they leave."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from diffusevae.core.params import build
from diffusevae.core.stage_log import StageLog
from diffusevae.core.tensor_file import load_config, load_tensors
from diffusevae.figures.drawing import save_figure
from diffusevae.figures.results import Drawn, Results
from diffusevae.metrics.measured import (
    read_history,
    read_importances,
    read_metrics,
    read_per_image,
    read_trials,
)
from diffusevae.models.diffusion_config import DiffusionConfig


def load_results(stages: Mapping[str, Path]) -> Results:
    """Return the results of an experiment; `stages` has the folder of each by its name."""
    sample = stages["sample"]
    snapshots = {
        "vae": stages["train_vae"] / "snapshots",
        "ddpm": sample / "snapshots/ddpm",
        "diffusevae": sample / "snapshots/diffusevae",
    }
    # Tuning may have changed the schedule of params.yaml.
    model = stages["train_ddpm"] / "model.safetensors"
    return Results(
        diffusion=build(DiffusionConfig, load_config(model)["diffusion"], str(model)),
        snapshots={
            name: {
                int(path.stem.removeprefix("epoch_")): load_tensors(path)
                for path in sorted(folder.glob("epoch_*.safetensors"))
            }
            for name, folder in snapshots.items()
        },
        histories={
            name: read_history(stages[f"train_{name}"]) for name in ("vae", "ddpm", "diffusevae")
        },
        tuning={
            name: (read_trials(stages[name]), read_importances(stages[name]))
            for name in ("tune_vae", "tune_ddpm")
        },
        **{
            name: load_tensors(sample / f"{name}.safetensors")
            for name in ("pairs", "generated", "trajectory")
        },
        per_image=read_per_image(stages["evaluate"] / "per_image.csv"),
        metrics=read_metrics(stages["evaluate"] / "metrics.json"),
    )


def save_drawn(out: Path, figures: Iterable[Drawn], log: StageLog) -> None:
    """Write every picture as it is drawn, and captions.json."""
    out.mkdir(parents=True, exist_ok=True)
    captions = []
    for drawn in figures:
        save_figure(drawn.figure, out / drawn.file)
        captions.append(
            {key: getattr(drawn, key) for key in ("file", "title", "caption", "section")}
        )
        log.message(drawn.title)
    text = json.dumps(captions, indent=2, ensure_ascii=False)
    (out / "captions.json").write_text(text + "\n", encoding="utf-8")
