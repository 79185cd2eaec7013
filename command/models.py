"""Subcommands about registered models and what they make."""

from pathlib import Path
from typing import Annotated

import typer

from command.parts import Experiment, Port, add_commands, complete_experiments, on_terminal, plainly

PANEL = "Models"


def add_to(app: typer.Typer) -> None:
    """Add the subcommands of this module."""
    add_commands(app, PANEL, EXAMPLES)


@on_terminal
def compare(
    experiment: Experiment,
    version: Annotated[str | None, typer.Argument(help="Else the newest.")] = None,
    other: Annotated[
        str | None, typer.Argument(help="A version to hold it against; then nothing changes.")
    ] = None,
) -> None:
    """Judge a version against the champion, or hold two versions side by side."""
    from flows import compare

    compare.show(experiment, version, other)


@on_terminal
def promote(
    experiment: Experiment,
    reason: Annotated[str, typer.Option(help="Why; it is kept with the version.")],
    version: Annotated[str | None, typer.Option(help="Else the newest.")] = None,
) -> None:
    """Make a version the champion, whatever is measured; this stands until `diffusevae lift`."""
    from flows import compare

    compare.show(experiment, version, reason=reason)


@on_terminal
def rollback(experiment: Experiment) -> None:
    """Make the champion before the champion again; this stands until `diffusevae lift`."""
    from flows import compare

    compare.roll_back(experiment)


@on_terminal
def lift(experiment: Experiment) -> None:
    """Let the rule under gate: in params.yaml decide again, and do so now."""
    from flows import compare

    compare.lift(experiment)


@plainly
def sample(
    context: typer.Context,
    experiment: Experiment = "quickstart",
    sampler: Annotated[
        str | None, typer.Option(help="ddpm, ddim, ddim_ahead, heun, dpmpp_2m or unipc")
    ] = None,
    num_steps: Annotated[
        str | None, typer.Option("--num-steps", "--num_steps", help="Runs of the network.")
    ] = None,
    spacing: Annotated[str | None, typer.Option(help="trailing, leading or linspace")] = None,
    eta: Annotated[str | None, typer.Option(help="0 to 1: how much noise ddim draws.")] = None,
    variance: Annotated[str | None, typer.Option(help="ddpm's: beta, posterior or zero")] = None,
    clip: Annotated[str | None, typer.Option(help="true: predictions kept in range.")] = None,
    guidance: Annotated[str | None, typer.Option(help="0 to 100: classifier-free.")] = None,
    guided_by: Annotated[
        str | None, typer.Option("--guided-by", "--guided_by", help="all, x_hat or labels")
    ] = None,
    temperature: Annotated[str | None, typer.Option(help="0 to 10, of all noise drawn.")] = None,
    shared_noise: Annotated[
        str | None,
        typer.Option("--shared-noise", "--shared_noise", help="true: the same for all images."),
    ] = None,
    batch_size: Annotated[
        str | None, typer.Option("--batch-size", "--batch_size", help="Images at a time.")
    ] = None,
    num_images: Annotated[
        int, typer.Option("--num-images", "--num_images", help="Of each kind.")
    ] = 20,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = 0,
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("images.png"),
) -> None:
    """Draw pictures from the models of a finished experiment, with any sampler.

    What is not given is as in section sampler of params.yaml.
    """
    from tasks.pictures import draw

    options = {name: value for name, value in context.params.items() if name in SAMPLER}
    place = out if context.obj == Path.cwd() else context.obj / out
    draw(experiment, num_images, seed, place, **options)


SAMPLER = (
    "sampler", "num_steps", "spacing", "eta", "variance", "clip", "guidance", "guided_by",
    "temperature", "shared_noise", "batch_size",
)  # fmt: skip


@on_terminal
def serve(
    model: Annotated[
        str,
        typer.Argument(
            help="An experiment, whose champion it is, or models:/NAME/VERSION.",
            autocompletion=complete_experiments,
        ),
    ] = "quickstart",
    port: Port = 5001,
) -> None:
    """Serve a registered model by HTTP, on this machine only and behind a login."""
    from flows import serve

    serve.serve(model, port)


EXAMPLES = {
    compare: ("diffusevae compare quickstart", "diffusevae compare quickstart 3 5"),
    promote: ("diffusevae promote quickstart --reason 'the gate cannot see the digits'",),
    rollback: ("diffusevae rollback quickstart",),
    lift: ("diffusevae lift quickstart",),
    sample: (
        "diffusevae sample quickstart",
        "diffusevae sample quickstart --sampler unipc --num-steps 10 --out images.png",
    ),
    serve: ("diffusevae serve smoke", "diffusevae serve models:/diffusevae-smoke/3 --port 5002"),
}
