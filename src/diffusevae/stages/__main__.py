"""The entry point of every stage.

    python -m diffusevae.stages train_vae smoke --train data/prepared/tiny/train.safetensors ...

A stage module offers SECTIONS (the sections of params.yaml it reads, with their types), ROOT
(where its key stands in params.yaml: "experiments", "datasets", "latent_studies" or None) and
`run`. The paths that `run` takes become options of the command line, so dvc.yaml alone says where
files lie. One that works with what a search has found offers TUNED, which puts the values of its
option `best` in place of the base configuration's before `run` and MLflow get them.

DIFFUSEVAE_PROCESSES=2 lets two processes train a model together, in the stages TRAINED_TOGETHER.
"""

import argparse
import gc
import importlib
import inspect
import os
import signal
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

from diffusevae.core import interruption
from diffusevae.core.command import run_command
from diffusevae.core.disk import SCRATCH, make_private, own_output
from diffusevae.core.errors import EnvironmentFailure, InputError, guard_output
from diffusevae.core.parent import PARENT_VARIABLE, end_with_parent
from diffusevae.stages.names import ALL_STAGES, TRAINED_TOGETHER
from diffusevae.tracking.recorder_client import Recorder
from diffusevae.tracking.stage_logger import StageLogger, track_stage
from diffusevae.training.launcher import launch, num_processes, rank

PARAMS_FILE = Path("params.yaml")


def main(argv: list[str]) -> int:
    """Run one stage; return its exit code."""
    guard_output()
    return run_command(lambda: _watch_and_run(argv))


def _watch_and_run(argv: list[str]) -> None:
    # Others than the first of a training wait for each other in C, where no handler runs; they end
    # when the first one has written its checkpoint, and with the launcher.
    if rank():
        interruption.ignore()
    else:
        interruption.watch()
    _run_stage(argv)


def _run_stage(argv: list[str]) -> None:
    _end_with_parent()
    if os.environ.get("DVC_EXP_NAME"):
        raise InputError(
            "dvc exp run: rewrites params.yaml without its anchors (`git diff params.yaml` shows "
            "what -S did); write what shall differ as an experiment of its own there (`<<:` takes "
            "the rest from another), then `diffusevae run NAME`"
        )
    if not argv or argv[0] not in ALL_STAGES:
        raise InputError(
            f"stage {argv[0] if argv else '(none)'}: not a stage; there are {', '.join(ALL_STAGES)}"
        )
    make_private(SCRATCH)
    count = num_processes()
    if rank() is not None and argv[0] not in TRAINED_TOGETHER:
        raise InputError(
            f"stage {argv[0]}: runs as one process; use torchrun for "
            f"{', '.join(TRAINED_TOGETHER)} only"
        )
    if rank() is None and count > 1 and argv[0] in TRAINED_TOGETHER:
        _load(argv)  # what is wrong with the arguments or params is said once
        launch(argv, count)
    elif rank():  # the first one speaks and writes for all
        stage, params, arguments = _load(argv)
        stage.run(params, **arguments, log=StageLogger())
    else:
        with Recorder() as recorder:  # first, for it starts while torch is imported here
            stage, params, arguments = _load(argv)
            sections = {name: getattr(params, name) for name in stage.SECTIONS}
            with (
                own_output(arguments["out"]),
                track_stage(argv[0], params.key, sections, recorder) as log,
            ):
                stage.run(params, **arguments, log=log)


def _end_with_parent() -> None:
    """End when DVC or the launcher does, so that no orphan keeps a GPU or writes outputs.

    Processes that train together can wait for each other and hear no SIGTERM.
    """
    if rank() is not None:
        end_with_parent(signal.SIGKILL)
    elif os.environ.get("DVC_STAGE") or os.environ.get(PARENT_VARIABLE):
        end_with_parent(signal.SIGTERM)


def _load(argv: list[str]) -> tuple[ModuleType, SimpleNamespace, dict[str, Path]]:
    """Return a stage's module, its params as it works with them (its key among them) and its paths.

    Raises InputError, EnvironmentFailure where a package is missing.
    """
    gc.disable()  # imports make a great many objects and no garbage
    try:  # only now: before, a signal would not be heard
        from diffusevae.core.params import load_sections

        stage = importlib.import_module(f"diffusevae.stages.{argv[0]}")
    except ModuleNotFoundError as error:
        raise EnvironmentFailure(
            f"{error.name}: is not installed for {sys.executable}; run `make setup`, then "
            "`source .venv/bin/activate`"
        ) from error
    gc.enable()
    arguments = _parse_paths(stage, argv)
    key = arguments.pop("key")
    params = SimpleNamespace()
    if stage.ROOT is not None:
        params = load_sections(PARAMS_FILE, stage.ROOT, key, stage.SECTIONS)
    params.key = key
    if hasattr(stage, "TUNED"):
        params = stage.TUNED(params, arguments.pop("best"))
    return stage, params, arguments


def _parse_paths(stage: ModuleType, argv: list[str]) -> dict:
    """Return the key and the paths that the stage's `run`, and its TUNED, ask for by name."""
    parser = argparse.ArgumentParser(prog=f"python -m diffusevae.stages {argv[0]}")
    parser.add_argument("key")
    asked = [*inspect.signature(stage.run).parameters, *(["best"] * hasattr(stage, "TUNED"))]
    for name in asked:
        if name not in ("params", "log"):
            parser.add_argument(f"--{name}", type=Path, required=True)
    return vars(parser.parse_args(argv[1:]))


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # all is written; taking torch down in good order would take a second
