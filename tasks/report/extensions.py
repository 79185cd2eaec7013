"""What stages on demand found, put into docs/results/extensions/STAGE/EXPERIMENT."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from diffusevae.core.errors import InputError
from diffusevae.experiments.experiment import Experiment
from diffusevae.stages.names import ON_DEMAND
from tasks.dvc.excerpt import find_hash, trace_excerpt, write_excerpt
from tasks.dvc.outputs import hash_output
from tasks.report.extension_page import render_page
from tasks.report.published import RESULTS

EXTENSIONS = RESULTS / "extensions"
INDEX = Path("docs/extensions.md")
PUBLISHED = (".csv", ".png", ".json")  # of a stage's outputs: no models
MOST_BYTES = 1_000_000  # of a file that the repository keeps


def publish_stage(experiment: Experiment, lock: Mapping, stage: str, device: str) -> Path:
    """Copy what a stage on demand left of an experiment, write its page; return the folder.

    Raises InputError for a stage that did not run, or whose files dvc.lock (lock: its content)
    does not vouch for.
    """
    target = f"{stage}@{experiment.name}"
    if stage not in ON_DEMAND:
        raise InputError(f"{stage}: is no stage on demand; take {', '.join(ON_DEMAND)}")
    excerpt = trace_excerpt(lock, target)
    if not excerpt:
        raise InputError(f"{target}: dvc.lock does not know it; run `dvc repro {target}` first")
    for out in map(Path, (each["path"] for each in excerpt[target]["outs"])):
        if not out.exists() or hash_output(out) != find_hash(excerpt, out):
            raise InputError(f"{out}: is not what dvc.lock holds; run `dvc repro {target}` first")
    made = sorted(_list_files(excerpt[target]["outs"]))
    files = [{"path": str(path), "md5": hash_output(path)} for path in made]
    place = Path(stage) / experiment.name
    with tempfile.TemporaryDirectory() as whole:
        folder = Path(whole) / place
        folder.mkdir(parents=True)
        for path in made:
            shutil.copy(path, folder / path.name)
        write_excerpt(folder, {**excerpt, target: {**excerpt[target], "outs": files}})
        (folder / "README.md").write_text(render_page(folder, device), encoding="utf-8")
        shutil.rmtree(EXTENSIONS / place, ignore_errors=True)
        shutil.copytree(folder, EXTENSIONS / place)
    return EXTENSIONS / place


def list_run(experiment: Experiment, lock: Mapping) -> list[str]:
    """Return an experiment's stages on demand that dvc.lock knows and that left files here."""
    return [
        stage
        for stage in ON_DEMAND
        if f"{stage}@{experiment.name}" in lock.get("stages", {})
        and experiment.output(stage, "").is_dir()
    ]


def _list_files(outs: list[Mapping]) -> Iterator[Path]:
    """Yield what of a stage's outputs is published, also of those that are folders."""
    for out in map(Path, (each["path"] for each in outs)):
        for path in [out] if out.is_file() else out.rglob("*"):
            if path.suffix in PUBLISHED and path.stat().st_size <= MOST_BYTES:
                yield path


def render_index() -> str:
    """Return the list of all that is published of stages on demand, as Markdown."""
    pages = sorted(EXTENSIONS.glob("*/*/README.md"))
    stages: dict[str, list[str]] = {page.parts[-3]: [] for page in pages}
    for page in pages:
        link = page.parent.relative_to(INDEX.parent).as_posix()
        stages[page.parts[-3]].append(f"[{page.parts[-2]}]({link})")
    return "\n".join(f"- `{stage}`: {', '.join(links)}" for stage, links in stages.items())
