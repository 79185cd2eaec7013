"""The report of an experiment put where a person looks for it, with the timings of its stages."""

import os
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from diffusevae.core.device import choose_device
from diffusevae.core.errors import InputError
from diffusevae.core.readback import read_again, read_mapping
from diffusevae.experiments.experiment import Experiment, LatentStudy
from diffusevae.report.timings import add_timings
from diffusevae.tracking.stage_logger import TIMINGS

REPORTS = Path("reports")


@task(task_run_name="publish", cache_policy=NO_CACHE)
def publish(experiment: Experiment | LatentStudy) -> Path:
    """Write reports/<experiment>.html: the stage's report and how long the stages took here.

    Timings differ from run to run, so they are in no DVC output; a stage whose outputs came from
    elsewhere has none.
    """
    mend = f"make it again with the stage {experiment.page.parent.name}"
    html = read_again(experiment.page, mend)
    try:
        html = add_timings(html, read_timings(experiment), describe_device())
    except ValueError as error:
        raise InputError(f"{experiment.page}: {error}; {mend}") from error
    path = (REPORTS / f"{experiment.name}.html").absolute()
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(html, encoding="utf-8")
    os.replace(partial, path)
    return path


def read_timings(experiment: Experiment | LatentStudy) -> dict[str, dict[str, float]]:
    """Return what was measured when each of the experiment's stages last ran here."""
    timings = {}
    stages = [target.split("@")[0] for target in experiment.targets]
    for target in experiment.targets:
        stage, key = target.split("@")
        path = TIMINGS / key / f"{stage}.json"
        if path.is_file():
            name = target if stages.count(stage) > 1 else stage  # there are several downloads
            timings[name] = read_mapping(path, float, "delete it, the stage's next run writes it")
    return timings


def describe_device() -> str:
    """Return in a few words what the stages of this machine run on."""
    device = choose_device()
    if device.type != "cuda":
        return f"{device.type.upper()}, {os.cpu_count()} cores"
    from torch.cuda import get_device_name

    return get_device_name(device)
