"""Subcommands for what is asked of an experiment on demand: one stage each."""

from collections.abc import Callable

import typer

from command.parts import Experiment, on_terminal, show_examples

PANEL = "Ask more of an experiment"
HELP = {
    "ablate": "Which of the ways to condition, and which objective, matters: each trained anew.",
    "frontier": "How few steps are enough: every sampler at every number of steps.",
    "distil": "DiffuseVAE in one or two steps, taught by the trained one.",
    "compress": "Whether the VAE beats PCA, with as many numbers in the code.",
    "robustness": "What DiffuseVAE does with noisy, cut, moved or foreign images.",
    "priors": "First stages and priors over their codes compared, and the codes as features.",
    "guide": "Weights of classifier-free guidance compared.",
    "restore": "Images inpainted and denoised, beside classical methods.",
    "theory": "The theory at work: entropy of steps, terms of the loss, the detail that is lost.",
}
EXAMPLE = {"guide": "guided"}  # else quickstart


def add_to(app: typer.Typer) -> None:
    """Add a subcommand for each stage on demand."""
    for stage, text in HELP.items():
        experiment = EXAMPLE.get(stage, "quickstart")
        app.command(
            stage,
            help=f"{text}\n\nWhat it needs of the experiment is made first, where it is not there.",
            rich_help_panel=PANEL,
            epilog=show_examples(f"diffusevae {stage} {experiment}"),
        )(_make_command(stage))


def _make_command(stage: str) -> Callable[..., None]:
    @on_terminal
    def command(experiment: Experiment) -> None:
        from flows import on_demand

        on_demand.make(stage, experiment)

    return command
