"""Subcommands for whoever looks after the checkout: its health, published results, speed."""

import sys
from typing import Annotated, cast

import typer
from typer.core import TyperGroup

from command.parts import Experiment, add_commands, complete_experiments, on_terminal, plainly

PANEL = "Upkeep"


def add_to(app: typer.Typer) -> None:
    """Add the subcommands of this module."""
    add_commands(app, PANEL, EXAMPLES)


@on_terminal
def doctor() -> None:
    """Say what of this machine and checkout is right, and what to mend; ends with 3 if anything.

    Python, packages, git, disk, memory, GPU, data sources, servers, locks.
    """
    from command import health

    health.show()


@plainly
def results(
    experiment: Experiment = "quickstart",
    stages: Annotated[
        list[str] | None, typer.Argument(help="Stages on demand alone, such as restore.")
    ] = None,
) -> None:
    """Publish results: docs/results and all texts that quote them, of what dvc.lock vouches for."""
    from tasks.results import publish_results, publish_stages

    if stages:
        publish_stages(experiment, stages)
    else:
        publish_results(experiment)


def bench(
    topics: Annotated[
        list[str] | None, typer.Argument(help="training, sampling, memory, ...; else all.")
    ] = None,
    experiment: Annotated[
        str, typer.Option(help="Of params.yaml.", autocompletion=complete_experiments)
    ] = "quickstart",
    repeats: Annotated[int, typer.Option(help="Of each measurement.", min=1)] = 5,
) -> None:
    """Measure how fast all of it is, beside public implementations and the machine's ceiling.

    `make bench` installs what this needs, and makes the experiment first.
    """
    from benchmarks.topics import measure

    raise typer.Exit(measure(topics or [], experiment, repeats))


@plainly
def download(asset: Annotated[str, typer.Argument(help="mnist, alexnet, cifar10, ...")]) -> None:
    """Get a data set or LPIPS' weights now, each file known by its hash; a run does so itself."""
    from diffusevae.experiments.experiment import RAW
    from diffusevae.sources.assets import fetch

    fetch(asset, RAW / asset, print)


@plainly
def wheelhouse(
    version: Annotated[
        str, typer.Argument(help="The Python that will install it.", show_default="this one")
    ] = f"{sys.version_info.major}.{sys.version_info.minor}",
) -> None:
    """Pack what a machine without a network installs from, for any supported Python."""
    from tasks.wheelhouse import pack_and_show

    pack_and_show(version)


@plainly
def reference(context: typer.Context) -> None:
    """Write what docs/reference has of params.yaml and of the commands anew, from the code."""
    from tasks.reference.reference_files import write_files

    write_files(cast(TyperGroup, context.find_root().command))


EXAMPLES = {
    doctor: ("diffusevae doctor",),
    results: ("diffusevae results quickstart", "diffusevae results guided guide"),
    bench: ("diffusevae bench", "diffusevae bench training --experiment mnist --repeats 3"),
    download: ("diffusevae download mnist", "diffusevae download alexnet"),
    reference: ("diffusevae reference",),
    wheelhouse: ("diffusevae wheelhouse 3.12",),
}
