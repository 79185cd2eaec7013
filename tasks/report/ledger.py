"""docs/claims.md: the study's claims, and our numbers, each with where it comes from."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from diffusevae.metrics.labels import FLOOR, RESTORERS
from diffusevae.metrics.metric import DISTRIBUTION, METRICS, PAIRED
from diffusevae.report.claims import CLAIMS, NOT_COMPARABLE, judge_ours, judge_printed
from diffusevae.report.reference_study import PRINTED, STUDY_SCALE, Scale
from diffusevae.studies.compression.compression_study import MEASURED as COMPARED
from tasks.dvc.excerpt import find_scale, find_source, read_excerpt
from tasks.dvc.outputs import hash_output
from tasks.report.cells import render_change
from tasks.report.published import RESULTS, load_metrics
from tasks.report.result_tables import GENERATED, Metrics, read_stage_table, render_cell
from tasks.report.trainings import find_paired, read_trainings

CLAIMS_FILE = Path("docs/claims.md")


def render_claims() -> str:
    """Return docs/claims.md: the study's claims, and our numbers, each with where it comes from."""
    lines = [
        "# Claims ledger",
        "",
        "Written by `diffusevae results`, checked by `tests/tasks/test_results.py`. A "
        "claim of the study is judged by its own printed numbers and by ours: one in favour of "
        "DiffuseVAE holds where the 95 % intervals of the paired differences, DiffuseVAE minus VAE "
        "and minus the control (the VAE, its grey values stretched), both lie on its side of zero; "
        "it does not hold where one of them lies on the other. For one in favour of the VAE it is "
        "the other way round. Of several trainings the intervals are over trainings and images; of "
        "one they are over images alone, and another training may say otherwise. "
        "What ours say is said of the scale they were made at; where that is not the study's "
        f"(at least {STUDY_SCALE}), the study's claim itself is not comparable. "
        "Lock: the MD5 by which dvc.lock knows the file (metrics.json, or the stage's table) "
        "that a number is from.",
        "",
        "## The study's claims",
        "",
        "| claim | results | by the study's numbers | minus VAE | minus control | trainings | at "
        "our scale | the study's claim | lock |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    folders = {folder: read_excerpt(folder) for folder in _folders()}
    for folder, excerpt in folders.items():
        if (dataset := find_source(excerpt)) in PRINTED:
            lines += _render_judged(folder, dataset, find_scale(excerpt, _count_tested(folder)))
    lines += ["", "The scales:", ""]
    lines += [
        f"- {_place(folder)}: {find_scale(excerpt, _count_tested(folder))}"
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
    lines += [row for folder in folders for row in _render_numbers(folder)]
    return "\n".join(lines) + "\n"


def _render_numbers(folder: Path) -> Iterator[str]:
    """Yield a row for each of our numbers in a folder."""
    for title, key, name, entry in _numbers(load_metrics(folder)):
        yield (
            f"| {title} | {key} | {render_cell(name, entry)} | {_place(folder)} | {_lock(folder)} |"
        )
    table = folder / "compress_table.csv"
    for row in _rows_of_compress(table):
        for name in COMPARED:
            yield (
                f"| VAE minus PCA, {row['numbers']} numbers: {METRICS[name].name} | "
                f"compress.{row['code'].replace(' ', '')}.{name}_change | "
                f"{render_change(name, row, name)} | {_place(folder)} | "
                f"{_lock(folder, table)} |"
            )


def _rows_of_compress(table: Path) -> list[dict]:
    return read_stage_table(table, "compress").to_dict("records") if table.is_file() else []


def _render_judged(folder: Path, dataset: str, scale: Scale) -> Iterator[str]:
    """Yield a row for each claim of the study about a data set, judged by one folder's results.

    By all its trainings, if it has several.
    """
    table = read_trainings(folder)
    paired = load_metrics(folder)["paired"] if table is None else find_paired(table)
    count = 1 if table is None else int(table["num_trainings"].iloc[0])
    for claim in CLAIMS:
        difference = render_cell(claim.metric, paired["difference"][claim.metric])
        control = paired.get("control")  # not in all that is published
        against = render_cell(claim.metric, control and control[claim.metric])
        ours = judge_ours(claim, paired)
        yield (
            f"| {claim.text} | {_place(folder)} | {judge_printed(claim, dataset)} | "
            f"{claim.metric} {difference} | {against} | {count} | {ours} | "
            f"{ours if scale.reaches(STUDY_SCALE) else NOT_COMPARABLE} | {_lock(folder)} |"
        )


def _count_tested(folder: Path) -> int:
    return load_metrics(folder)["num_images"]


def _numbers(metrics: Metrics) -> Iterator[tuple[str, str, str, Mapping[str, float] | None]]:
    """Yield (title, key, metric, entry) of every number with an interval."""
    for model in [model for model in RESTORERS if model in metrics["paired"]]:
        for name in PAIRED:
            yield (
                f"{RESTORERS[model]}: {METRICS[name].name}",
                f"paired.{model}.{name}",
                name,
                metrics["paired"][model][name],
            )
    measured = [name for name in DISTRIBUTION if name in metrics["floor"]]
    for way in [way for way in GENERATED if way in metrics["generated"]]:
        title = GENERATED[way]
        for name in measured:
            yield (
                f"{title}: {METRICS[name].name}",
                f"generated.{way}.{name}",
                name,
                metrics["generated"][way][name],
            )
    for rival, entry in metrics.get("gains", {}).items():
        yield f"DiffuseVAE minus {GENERATED[rival]}", f"gains.{rival}", "frechet", entry
    for name in measured:
        yield f"{FLOOR}: {METRICS[name].name}", f"floor.{name}", name, metrics["floor"][name]


def _folders() -> list[Path]:
    return sorted(path.parent for path in RESULTS.glob("*/*/metrics.json"))


def _place(folder: Path) -> str:
    return f"[{folder.parent.name}/{folder.name}]({folder.relative_to(CLAIMS_FILE.parent)})"


def _lock(folder: Path, file: Path | None = None) -> str:
    return f"`{hash_output(file or folder / 'metrics.json')[:12]}`"
