"""Put an experiment's results where readers find them: docs/results, the README, docs/claims.md.

What its stages on demand left goes into docs/results/extensions: of all that ran and are not part
of the experiment's own page, or of some alone. Only results that dvc.lock vouches for are taken,
and what it says of them is kept beside them. A test renders all texts again and compares them, so a
number cannot drift away from the run it came from.
"""

import datetime
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import tasks.report.trainings as trainings_table
from diffusevae.core.errors import InputError
from diffusevae.experiments.experiment import Experiment, load_experiment
from diffusevae.report.reference_study import PRINTED
from tasks.dvc.excerpt import FILE, Excerpt, find_hash, find_source, take_excerpt, write_excerpt
from tasks.dvc.lock import read_lock
from tasks.dvc.outputs import hash_output
from tasks.report.extensions import INDEX, list_run, publish_stage, render_index
from tasks.report.ledger import CLAIMS_FILE, render_claims
from tasks.report.publication import describe_device
from tasks.report.published import RESULTS, load_metrics
from tasks.report.result_tables import render_metrics, render_stage

README = Path("README.md")
README_EXPERIMENT = "quickstart"
START, END = "<!-- results: written by diffusevae results -->", "<!-- end of results -->"
FIGURES = ("reconstructions.png", "generated.png", "distances.png", "paired_metrics.png")
# What stages on demand leave that the experiment's own page shows; it is there if they ran.
ON_THE_PAGE = {
    "compress": ("table.csv", "table.png", "images.png"),
    "ablate": ("table.csv", "table.png", "images.png"),
    "frontier": ("frontier.csv", "frontier.png", "budget.csv", "budget.png", "default.json"),
}


def publish_results(name: str) -> None:
    """Copy an experiment's results to docs/results and write every text that quotes them.

    Raises InputError where there are none, or none that dvc.lock vouches for.
    """
    experiment, lock = load_experiment(name), read_lock()
    excerpt = take_excerpt(lock, experiment, tuple(ON_THE_PAGE))
    chosen = _choose_files(experiment, excerpt)
    trainings, measured = _choose_trainings(name, lock)
    excerpt = {**excerpt, **measured}
    source = find_source(excerpt)
    out = RESULTS / name / (source if source in PRINTED else experiment.dataset)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    write_excerpt(out, excerpt)
    for file, path in chosen.items():
        shutil.copy(path, out / file)
    if len(trainings) > 1:
        trainings_table.compare(trainings).to_csv(out / trainings_table.FILE, index=False)
    device = _describe_run()
    (out / "README.md").write_text(render_results(experiment, out, device), encoding="utf-8")
    if name == README_EXPERIMENT:
        text = README.read_text(encoding="utf-8")
        README.write_text(fill(text, render_metrics(load_metrics(out))), encoding="utf-8")
    CLAIMS_FILE.write_text(render_claims(), encoding="utf-8")
    print(f"{out}  {README}  {CLAIMS_FILE}")
    if stages := [stage for stage in list_run(experiment, lock) if stage not in ON_THE_PAGE]:
        publish_stages(name, stages)


def publish_stages(name: str, stages: Sequence[str]) -> None:
    """Put what stages on demand left of an experiment into docs/results/extensions.

    Raises InputError for a stage that did not run, or that dvc.lock does not vouch for.
    """
    experiment, lock = load_experiment(name), read_lock()
    for stage in stages:
        print(publish_stage(experiment, lock, stage, _describe_run()))
    text = INDEX.read_text(encoding="utf-8")
    INDEX.write_text(fill(text, render_index()), encoding="utf-8")


def _describe_run() -> str:
    return f"{describe_device()}, {datetime.date.today():%d %B %Y}"


def _choose_files(experiment: Experiment, excerpt: Excerpt) -> dict[str, Path]:
    """Return what is published, by the name it gets; all of it is what dvc.lock holds.

    Raises InputError for a file that is another.
    """
    run = f"make run EXPERIMENT={experiment.name}"
    metrics = experiment.output("evaluate", "metrics.json")
    figures = experiment.output("figures", "")
    _require_locked(metrics, excerpt, run)
    _require_locked(figures, excerpt, run)
    chosen = {"metrics.json": metrics} | {
        f"figures_{file}": figures / file for file in FIGURES if (figures / file).is_file()
    }
    for stage, files in ON_THE_PAGE.items():
        made = {f"{stage}_{file}": experiment.output(stage, file) for file in files}
        if any(path.is_file() for path in made.values()):
            for path in made.values():
                _require_locked(path, excerpt, f"dvc repro {stage}@{experiment.name}")
            chosen |= made
    return chosen


def _choose_trainings(name: str, lock: Mapping) -> tuple[list[Experiment], Excerpt]:
    """Return an experiment and those with other seeds that ran, and what dvc.lock holds of these.

    Raises InputError for results of one that are others than dvc.lock's.
    """
    chosen: list[Experiment] = []
    excerpt: dict[str, Mapping] = {}
    for each in trainings_table.find_trainings(name):
        target = f"evaluate@{each.name}"
        if entry := take_excerpt(lock, each, ()).get(target):
            excerpt[target] = entry
            chosen.append(each)
    if len(chosen) > 1:
        for each in chosen:
            for file in trainings_table.MEASURED:
                path = each.output("evaluate", file)
                _require_locked(path, excerpt, f"make run EXPERIMENT={each.name}")
    return chosen, excerpt


def _require_locked(path: Path, excerpt: Excerpt, command: str) -> None:
    if not path.exists() or hash_output(path) != find_hash(excerpt, path):
        raise InputError(f"{path}: is not what dvc.lock holds; run `{command}` first")


def fill(text: str, tables: str) -> str:
    """Return a text with what stands between its two marks replaced. Raises InputError."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise InputError(f"{README}: has no lines {START!r} and {END!r}; put them back")
    return f"{before}{START}\n\n{tables}\n\n{END}{after}"


def render_results(experiment: Experiment, folder: Path, device: str) -> str:
    """Return the page of one folder of docs/results."""
    lines = [
        f"# {experiment.name} on {folder.name}",
        "",
        f"`make run EXPERIMENT={experiment.name}`, one seed, {device}. dvc.lock knows "
        f"metrics.json by MD5 `{hash_output(folder / 'metrics.json')}`; what it was made with "
        f"stands in [{FILE}]({FILE}).",
        "",
        render_metrics(load_metrics(folder)),
        "",
    ]
    if (table := trainings_table.read_trainings(folder)) is not None:
        lines.append(trainings_table.render_trainings(table))
    for stage in ON_THE_PAGE:
        lines += render_stage(stage, folder)
    lines += ["## Pictures", ""]
    for path in sorted(folder.glob("*.png")):
        lines += [f"![{path.stem.replace('_', ' ')}]({path.name})", ""]
    return "\n".join(lines)
