"""Put an experiment's results where readers find them: docs/results, the README, docs/claims.md.

    python -m tasks.results quickstart

Only results that dvc.lock vouches for are taken, and what it says of them is kept beside them. A
test renders all texts again and compares them, so a number cannot drift away from the run it came
from.
"""

import datetime
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from diffusevae.core.command import run_command
from diffusevae.core.errors import InputError
from diffusevae.experiments.experiment import Experiment, load_experiment
from diffusevae.metrics.labels import FLOOR, MODEL_NAMES
from diffusevae.metrics.measured import read_metrics
from diffusevae.metrics.paired import DISTRIBUTION, METRICS, PAIRED
from diffusevae.report.claims import CLAIMS, NOT_COMPARABLE, judge_ours, judge_printed
from diffusevae.report.reference_study import PRINTED, STUDY_SCALE, Scale
from diffusevae.report.report_tables import MODELS
from diffusevae.studies.compression import MEASURED as COMPARED
from tasks.dvc.excerpt import (
    FILE,
    Excerpt,
    find_hash,
    find_scale,
    find_source,
    read_excerpt,
    take_excerpt,
    write_excerpt,
)
from tasks.dvc.lock import read_lock
from tasks.dvc.outputs import hash_output
from tasks.report.publication import describe_device
from tasks.report.result_tables import (
    GENERATED,
    Metrics,
    read_stage_table,
    render_cell,
    render_change,
    render_metrics,
    render_stage,
)

RESULTS = Path("docs/results")
CLAIMS_FILE = Path("docs/claims.md")
README = Path("README.md")
README_EXPERIMENT = "quickstart"
START, END = "<!-- results: written by python -m tasks.results -->", "<!-- end of results -->"
FIGURES = ("reconstructions.png", "generated.png", "distances.png", "paired_metrics.png")
# What stages on demand leave; it is there if they ran.
ON_DEMAND = {
    "compress": ("table.csv", "table.png", "images.png"),
    "ablate": ("table.csv", "table.png", "images.png"),
    "frontier": ("frontier.csv", "frontier.png", "budget.csv", "budget.png", "default.json"),
}


def publish_results(name: str) -> None:
    """Copy an experiment's results to docs/results and write every text that quotes them.

    Raises InputError where there are none, or none that dvc.lock vouches for.
    """
    experiment = load_experiment(name)
    excerpt = take_excerpt(read_lock(), experiment, tuple(ON_DEMAND))
    chosen = _choose_files(experiment, excerpt)
    source = find_source(excerpt)
    out = RESULTS / name / (source if source in PRINTED else experiment.dataset)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    write_excerpt(out, excerpt)
    for file, path in chosen.items():
        shutil.copy(path, out / file)
    device = f"{describe_device()}, {datetime.date.today():%d %B %Y}"
    (out / "README.md").write_text(render_results(experiment, out, device), encoding="utf-8")
    if name == README_EXPERIMENT:
        text = README.read_text(encoding="utf-8")
        README.write_text(fill(text, render_metrics(load_metrics(out))), encoding="utf-8")
    CLAIMS_FILE.write_text(render_claims(), encoding="utf-8")
    print(f"{out}  {README}  {CLAIMS_FILE}")


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
    for stage, files in ON_DEMAND.items():
        made = {f"{stage}_{file}": experiment.output(stage, file) for file in files}
        if any(path.is_file() for path in made.values()):
            for path in made.values():
                _require_locked(path, excerpt, f"dvc repro {stage}@{experiment.name}")
            chosen |= made
    return chosen


def _require_locked(path: Path, excerpt: Excerpt, command: str) -> None:
    if not path.exists() or hash_output(path) != find_hash(excerpt, path):
        raise InputError(f"{path}: is not what dvc.lock holds; run `{command}` first")


def load_metrics(folder: Path) -> dict[str, Any]:
    """Return the metrics.json of a folder. Raises InputError."""
    return read_metrics(folder / "metrics.json")


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
    for stage in ON_DEMAND:
        lines += render_stage(stage, folder)
    lines += ["## Pictures", ""]
    for path in sorted(folder.glob("*.png")):
        lines += [f"![{path.stem.replace('_', ' ')}]({path.name})", ""]
    return "\n".join(lines)


def render_claims() -> str:
    """Return docs/claims.md: the study's claims, and our numbers, each with where it comes from."""
    lines = [
        "# Claims ledger",
        "",
        "Written by `python -m tasks.results`, checked by `tests/tasks/test_results.py`. A "
        "claim of the study is judged by its own printed numbers and by ours: it holds where the "
        "95 % interval of the paired difference, DiffuseVAE minus VAE, lies on its side of zero. "
        "What ours say is said of the scale they were made at; where that is not the study's "
        f"(at least {STUDY_SCALE}), the study's claim itself is not comparable. "
        "Lock: the MD5 by which dvc.lock knows the file (metrics.json, or the stage's table) "
        "that a number is from.",
        "",
        "## The study's claims",
        "",
        "| claim | results | by the study's numbers | difference | at our scale | the study's "
        "claim | lock |",
        "|---|---|---|---|---|---|---|",
    ]
    folders = {folder: read_excerpt(folder) for folder in _folders()}
    for folder, excerpt in folders.items():
        if (dataset := find_source(excerpt)) in PRINTED:
            lines += _render_judged(folder, dataset, find_scale(excerpt, _num_test(folder)))
    lines += ["", "The scales:", ""]
    lines += [
        f"- {_place(folder)}: {find_scale(excerpt, _num_test(folder))}"
        for folder, excerpt in folders.items()
    ]
    lines += [
        "",
        "Not judged: that DiffuseVAE beats the VAE after five epochs, and its training "
        "and sampling times, for which the study gives no comparison.",
        "",
        "## Our numbers",
        "",
        "| number | key | value | results | lock |",
        "|---|---|---|---|---|",
    ]
    for folder in folders:
        for title, key, name, entry in _numbers(load_metrics(folder)):
            lines.append(
                f"| {title} | {key} | {render_cell(name, entry)} | {_place(folder)} | "
                f"{_lock(folder)} |"
            )
        table = folder / "compress_table.csv"
        for row in _rows_of_compress(table):
            for name in COMPARED:
                lines.append(
                    f"| VAE minus PCA, {row['numbers']} numbers: {METRICS[name].name} | "
                    f"compress.{row['code'].replace(' ', '')}.{name}_change | "
                    f"{render_change(name, row, name)} | {_place(folder)} | "
                    f"{_lock(folder, table)} |"
                )
    return "\n".join(lines) + "\n"


def _rows_of_compress(table: Path) -> list[dict]:
    return read_stage_table(table, "compress").to_dict("records") if table.is_file() else []


def _render_judged(folder: Path, dataset: str, scale: Scale) -> Iterator[str]:
    """Yield a row for each claim of the study about a data set, judged by one folder's results."""
    metrics = load_metrics(folder)
    for claim in CLAIMS:
        difference = render_cell(claim.metric, metrics["paired"]["difference"][claim.metric])
        ours = judge_ours(claim, metrics["paired"])
        yield (
            f"| {claim.text} | {_place(folder)} | {judge_printed(claim, dataset)} | "
            f"{claim.metric} {difference} | {ours} | "
            f"{ours if scale.reaches(STUDY_SCALE) else NOT_COMPARABLE} | {_lock(folder)} |"
        )


def _num_test(folder: Path) -> int:
    return load_metrics(folder)["num_images"]


def _numbers(metrics: Metrics) -> Iterator[tuple[str, str, str, Mapping[str, float] | None]]:
    """Yield (title, key, metric, entry) of every number with an interval."""
    for model in MODELS:
        for name in PAIRED:
            yield (
                f"{MODEL_NAMES[model]}: {METRICS[name].name}",
                f"paired.{model}.{name}",
                name,
                metrics["paired"][model][name],
            )
    for way, title in GENERATED.items():
        for name in DISTRIBUTION:
            yield (
                f"{title}: {METRICS[name].name}",
                f"generated.{way}.{name}",
                name,
                metrics["generated"][way][name],
            )
    for name in DISTRIBUTION:
        yield f"{FLOOR}: {METRICS[name].name}", f"floor.{name}", name, metrics["floor"][name]


def _folders() -> list[Path]:
    return sorted(path.parent for path in RESULTS.glob("*/*/metrics.json"))


def _place(folder: Path) -> str:
    return f"[{folder.parent.name}/{folder.name}]({folder.relative_to(CLAIMS_FILE.parent)})"


def _lock(folder: Path, file: Path | None = None) -> str:
    return f"`{hash_output(file or folder / 'metrics.json')[:12]}`"


def main(arguments: list[str]) -> int:
    """Publish the experiment named, else quickstart; return the exit code."""
    return run_command(lambda: publish_results(arguments[0] if arguments else README_EXPERIMENT))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
