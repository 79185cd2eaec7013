"""Where an experiment stands, as a table."""

from rich.console import Console
from rich.table import Table

from diffusevae.experiments.experiment import load_experiment
from diffusevae.report.timings import format_seconds
from tasks.standing import Standing, find_standing

COLOURS = {"up to date": "green", "changed": "yellow", "to be made anew": "yellow"}


def show(name: str) -> None:
    """Print it. Raises InputError, EnvironmentFailure."""
    found = find_standing(load_experiment(name))
    console = Console(highlight=False)
    if found.stages:
        console.print(_make_table(found))
    else:
        console.print(
            f"at work   a run (PID {found.at_work}); what it has done is known at its end"
        )
    changed = sum(state != "up to date" for state in found.stages.values())
    if changed:
        console.print(f"to do     {changed} stages: `diffusevae run {name}`", markup=False)
    console.print(f"report    {found.report or 'none yet'}", markup=False, soft_wrap=True)
    champion = f"version {found.champion} is the champion" if found.champion else "no champion"
    console.print(
        f"model     {found.model}, versions: {found.versions}, {champion}", soft_wrap=True
    )
    if found.unsent:
        console.print(f"unsent    {found.unsent} records of runs: `diffusevae send`", markup=False)


def _make_table(found: Standing) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("stage", "state", "took here"):
        table.add_column(title)
    for target, state in found.stages.items():
        seconds = found.seconds.get(target) or found.seconds.get(target.partition("@")[0])
        colour = COLOURS[state]
        table.add_row(
            target, f"[{colour}]{state}[/{colour}]", format_seconds(seconds) if seconds else ""
        )
    return table
