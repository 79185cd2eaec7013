"""The experiments and latent studies of params.yaml, and the stages that they consist of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diffusevae.core.errors import InputError
from diffusevae.core.params import load_entry
from diffusevae.core.wording import MAX_SHOWN, suggest
from diffusevae.core.yaml_file import read_yaml
from diffusevae.data.division import count_test
from diffusevae.data.image_folder import Found
from diffusevae.data.own_source import find_source
from diffusevae.experiments.params_file import (
    NAME,
    PARAMS_FILE,
    ROOTS,
    Entries,
    check_params,
    load_stage,
    require_consistency,
)
from diffusevae.metrics.perceptual import BACKBONE
from diffusevae.sources.pinned import ASSETS
from diffusevae.stages.names import LATENTS, STAGES

RAW = Path("data/raw")  # where dvc.yaml keeps downloads, and the user folders of images
NO_IMAGE_SETS = (BACKBONE, "raman", "nuclei")  # downloads that no data set is made of


@dataclass(frozen=True)
class Experiment:
    """An experiment's name, its data set's, and the name of what this is made of.

    That is a download, or a folder of the user's own images.
    """

    name: str
    dataset: str
    source: str

    @property
    def targets(self) -> list[str]:
        """The DVC targets, stage@key, in an order in which they can run."""
        downloads = [name for name in (self.source, BACKBONE) if name in ASSETS]
        keys = {"datasets": [self.dataset], "experiments": [self.name], None: downloads}
        return [f"{stage}@{key}" for stage in STAGES for key in keys[load_stage(stage).ROOT]]

    def output(self, stage: str, file: str) -> Path:
        """Return where one of the experiment's own stages writes a file."""
        return Path("artifacts") / self.name / stage / file

    @property
    def page(self) -> Path:
        """Where the last stage writes what people read."""
        return self.output("report", "report.html")

    def data(self, stage: str, file: str) -> Path:
        """Return where a stage of its data set writes a file."""
        return Path("data") / stage / self.dataset / file


@dataclass(frozen=True)
class LatentStudy:
    """A latent study's name, its data set's, the experiment whose models it uses, and the targets
    that must be there before its stages can run.
    """

    name: str
    dataset: str
    experiment: Experiment
    needed: tuple[str, ...]

    @property
    def targets(self) -> list[str]:
        """The DVC targets, stage@key, in an order in which they can run."""
        return [*self.needed, *(f"{stage}@{self.name}" for stage in LATENTS)]

    def output(self, stage: str, file: str) -> Path:
        """Return where one of the study's own stages writes a file."""
        return Path("artifacts") / self.name / stage / file

    @property
    def page(self) -> Path:
        """Where the last stage writes what people read."""
        return self.output("overview", "overview.html")


def load_experiment(name: str, path: Path = PARAMS_FILE) -> Experiment:
    """Return an experiment of params.yaml when the file is sound. Raises InputError.

    The error names every fault at once. The latent studies are looked at by `load_latent_study`
    only: their stages' modules take seconds to import.
    """
    content = read_yaml(path)
    entries = check_params(path, content, ROOTS[:2])
    dataset = load_entry(path, "experiments", name, content)["dataset"]
    [source] = _look_into_sources(path, content, entries, [dataset])
    return Experiment(name, dataset, source)


def load_latent_study(name: str, path: Path = PARAMS_FILE) -> LatentStudy:
    """Return a latent study of params.yaml when the whole file is sound. Raises InputError."""
    content = read_yaml(path)
    entries = check_params(path, content, ROOTS[:3])
    entry = load_entry(path, "latent_studies", name, content)
    chosen = {entry["dataset"], entry["other_dataset"]}
    experiment = load_experiment(entry["experiment"], path)
    found = _look_into_sources(path, content, entries, sorted(chosen))
    sources = {*NO_IMAGE_SETS[1:], *found} & set(ASSETS)
    trained = experiment.targets[: experiment.targets.index(f"sample@{experiment.name}")]
    needed = [
        *(f"download@{source}" for source in sorted(sources)),
        *(f"prepare@{dataset}" for dataset in sorted(chosen)),
        f"train_classifier@{entry['dataset']}",
        *trained,
    ]
    return LatentStudy(name, entry["dataset"], experiment, tuple(dict.fromkeys(needed)))


def _look_into_sources(
    path: Path, content: Mapping, entries: Entries, names: Sequence[str]
) -> list[str]:
    """Return the sources of data sets. Raises InputError for one that cannot be used, and where
    params.yaml asks for more test images than a folder of them holds.
    """
    sources, counted = [], False
    for name in names:
        dataset = entries["datasets"][name]
        images = dataset.images
        parts = _require_source(images.source, f"{path} datasets.{name}.images.source")
        if images.num_test is None:
            dataset.images = replace(images, test_images=count_test(images, parts))
            counted = True
        sources.append(images.source)
    if counted:
        require_consistency(path, content, entries)
    return sources


def _require_source(source: str, place: str) -> tuple[str, ...] | None:
    """Raise InputError unless the source can be downloaded, or is a folder of images; return the
    split of each image, where folders say it.
    """
    known = [name for name in ASSETS if name not in NO_IMAGE_SETS]
    if source in known:
        return None
    if not NAME.fullmatch(source) or source in NO_IMAGE_SETS:
        raise InputError(f"{place}: {source[:MAX_SHOWN]!r} is no name; use letters, digits and _")
    if not (RAW / source).is_dir():
        raise InputError(
            f"{place}: {source!r} is no known data set ({suggest(source, known)}), "
            f"and there is no folder {RAW / source} of your own images"
        )
    found = find_source(RAW / source)  # what is wrong with it is said before any work
    return found.labelling.parts if isinstance(found, Found) else None
