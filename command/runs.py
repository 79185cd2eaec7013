"""Subcommands that run an experiment, or say what that takes and where it stands."""

from typing import Annotated

import typer

from command.parts import Experiment, Study, add_commands, complete_all, on_terminal

PANEL = "Run"


def add_to(app: typer.Typer) -> None:
    """Add the subcommands of this module."""
    add_commands(app, PANEL, EXAMPLES)


@on_terminal
def run(experiment: Experiment = "quickstart") -> None:
    """Run an experiment from its data to its report and registered model.

    What is up to date is not done again; after a crash the same command goes on.
    """
    from flows import start

    start.run(experiment)


@on_terminal
def plan(experiment: Experiment = "quickstart") -> None:
    """Tell time, memory and disk of every stage before it is run, from trying them a little."""
    from flows import plan

    plan.plan(experiment)


@on_terminal
def status(experiment: Experiment = "quickstart") -> None:
    """Say which stages are up to date, where the report is, and which model is the champion."""
    from command import standing

    standing.show(experiment)


@on_terminal
def tune(experiment: Experiment = "quickstart") -> None:
    """Take part in an experiment's searches, wherever they are going on.

    DIFFUSEVAE_OPTUNA_STORAGE names the database that all who take part share.
    """
    from flows import tune

    tune.take_part(experiment)


@on_terminal
def latents(study: Study = "latents") -> None:
    """Run the latent studies: what an autoencoder's code means."""
    from flows import latents

    latents.run(study)


@on_terminal
def reproduce(
    name: Annotated[
        str,
        typer.Argument(
            help="An experiment or latent study of params.yaml, or a registered MODEL/VERSION.",
            autocompletion=complete_all,
        ),
    ],
) -> None:
    """Make results again in a clean folder and compare every file with dvc.lock.

    A version is made from its commit and its run's dvc.lock.

    Ends with 1 where a byte differs, and names the stage, the file and the tensor or line in it.
    """
    from flows import reproduce

    reproduce.reproduce(name)


EXAMPLES = {
    run: ("diffusevae run", "diffusevae run smoke"),
    status: ("diffusevae status", "diffusevae status smoke"),
    plan: ("diffusevae plan quickstart", "diffusevae plan gpu_mnist"),
    tune: ("diffusevae tune quickstart",),
    latents: ("diffusevae latents", "diffusevae latents latents_smoke"),
    reproduce: ("diffusevae reproduce smoke", "diffusevae reproduce diffusevae-quickstart/3"),
}
