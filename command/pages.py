"""Subcommands that serve pages on this machine, and those of a team's servers."""

from typing import Annotated

import typer

from command.parts import Port, add_commands, complete_studies, on_terminal

PANEL = "Pages and servers"


def add_to(app: typer.Typer) -> None:
    """Add the subcommands of this module."""
    add_commands(app, PANEL, EXAMPLES)


@on_terminal
def explore(
    study: Annotated[
        str,
        typer.Argument(
            help="A latent study, or a registered model.", autocompletion=complete_studies
        ),
    ] = "latents",
    port: Port = 8080,
) -> None:
    """Open a page with a slider for each latent, behind a login that is printed."""
    from apps.explore.server import explore

    explore(study, port)


@on_terminal
def mlflow(port: Port = 5000) -> None:
    """Open MLflow's pages of every run and model, behind a login that is printed."""
    from tasks import tracking_server

    tracking_server.serve(port)


@on_terminal
def dashboard(port: Port = 8081) -> None:
    """Open Optuna's pages of every search, behind a login that is printed."""
    from apps import dashboard

    dashboard.show(port)


@on_terminal
def bootstrap() -> None:
    """Prepare the Prefect server in PREFECT_API_URL: pools, deployments, schedules, alerts.

    Again, it changes only what is not as it should be.
    """
    from flows import bootstrap

    bootstrap.bootstrap()


@on_terminal
def worker(
    pool: Annotated[str, typer.Argument(help="cpu or gpu")],
    gpus: Annotated[str | None, typer.Argument(help="0, or 0,1 to train on both.")] = None,
) -> None:
    """Work for the Prefect server in PREFECT_API_URL, one run at a time, in this checkout."""
    from flows.worker import work

    work([pool, *filter(None, [gpus])])


@on_terminal
def send() -> None:
    """Send MLflow what was kept while it did not answer; the next run does so too."""
    from tasks import recording

    recording.send()


EXAMPLES = {
    explore: ("diffusevae explore", "diffusevae explore latents_smoke --port 8090"),
    mlflow: ("diffusevae mlflow", "diffusevae mlflow --port 5010"),
    dashboard: ("diffusevae dashboard",),
    bootstrap: ("PREFECT_API_URL=http://127.0.0.1:4200/api diffusevae bootstrap",),
    worker: ("diffusevae worker cpu", "diffusevae worker gpu 0", "diffusevae worker gpu 0,1"),
    send: ("diffusevae send",),
}
