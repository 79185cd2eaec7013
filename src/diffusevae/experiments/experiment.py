"""The experiments of params.yaml: the whole file checked before any work starts, and their stages.

What a section may hold is said by the stage that reads it (SECTIONS in its module).
"""

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Literal

from diffusevae.core.errors import InputError
from diffusevae.core.params import Schema, build, load_entry
from diffusevae.core.wording import MAX_SHOWN, suggest
from diffusevae.core.yaml_file import read_yaml
from diffusevae.data.image_folder import find_images
from diffusevae.experiments.consistency import (
    find_misfits,
    find_misfits_of_sizes,
    find_study_misfits,
)
from diffusevae.metrics.perceptual import BACKBONE
from diffusevae.metrics.promotion import GateConfig
from diffusevae.sources.pinned import ASSETS
from diffusevae.stages.names import LATENTS, ON_DEMAND, STAGES

PARAMS_FILE = Path("params.yaml")
RAW = Path("data/raw")  # where dvc.yaml keeps downloads, and the user folders of images
ROOTS = ("datasets", "experiments", "latent_studies", "gate")
NO_IMAGE_SETS = (BACKBONE, "raman", "nuclei")  # downloads that no data set is made of
SamplerSource = Literal["params", "frontier"]  # of the registered model's sampler
NAME = re.compile(r"[A-Za-z0-9_]{1,60}")


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
        return [f"{stage}@{key}" for stage in STAGES for key in keys[_module(stage).ROOT]]

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
    datasets = _check(path, content, ROOTS[:2])
    dataset = load_entry(path, "experiments", name, content)["dataset"]
    source = datasets[dataset].images.source
    _require_source(source, f"{path} datasets.{dataset}.images.source")
    return Experiment(name, dataset, source)


def load_latent_study(name: str, path: Path = PARAMS_FILE) -> LatentStudy:
    """Return a latent study of params.yaml when the whole file is sound. Raises InputError."""
    content = read_yaml(path)
    datasets = _check(path, content, ROOTS[:3])
    entry = load_entry(path, "latent_studies", name, content)
    chosen = {entry["dataset"], entry["other_dataset"]}
    experiment = load_experiment(entry["experiment"], path)
    sources = set(NO_IMAGE_SETS[1:])
    for dataset in sorted(chosen):
        source = datasets[dataset].images.source
        _require_source(source, f"{path} datasets.{dataset}.images.source")
        sources |= {source} & set(ASSETS)
    trained = experiment.targets[: experiment.targets.index(f"sample@{experiment.name}")]
    needed = [
        *(f"download@{source}" for source in sorted(sources)),
        *(f"prepare@{dataset}" for dataset in sorted(chosen)),
        f"train_classifier@{entry['dataset']}",
        *trained,
    ]
    return LatentStudy(name, entry["dataset"], experiment, tuple(dict.fromkeys(needed)))


def _check(path: Path, content: Mapping, roots: Sequence[str]) -> dict[str, SimpleNamespace]:
    """Return the data sets of params.yaml. Raises InputError that names every fault under roots."""
    faults = [
        f"{path} {str(root)[:MAX_SHOWN]}: unknown key; {suggest(root, ROOTS)}"
        for root in content
        if root not in ROOTS
    ]
    entries = {root: _build_entries(path, content, root, faults) for root in roots}
    datasets, experiments = entries["datasets"], entries["experiments"]
    try:
        _build_gate(path, content)
    except InputError as error:
        faults.append(str(error))
    for key, params in experiments.items():
        place = f"{path} experiments.{key}"
        if isinstance(params.dataset, str) and params.dataset not in content["datasets"]:
            faults.append(
                f"{place}.dataset: there is no {params.dataset[:MAX_SHOWN]!r}; "
                f"{suggest(params.dataset, map(str, content['datasets']))}"
            )
        elif params.sound and params.dataset in datasets and datasets[params.dataset].sound:
            images = datasets[params.dataset].images
            faults += [f"{place}.{misfit}" for misfit in find_misfits(params, images)]
    for key, params in entries.get("latent_studies", {}).items():
        place = f"{path} latent_studies.{key}"
        for field, root in (
            ("dataset", "datasets"),
            ("other_dataset", "datasets"),
            ("experiment", "experiments"),
        ):
            value = getattr(params, field, None)
            if isinstance(value, str) and value not in content[root]:
                faults.append(
                    f"{place}.{field}: there is no {value[:MAX_SHOWN]!r}; "
                    f"{suggest(value, map(str, content[root]))}"
                )
        used = experiments.get(params.experiment) if params.sound else None
        if used is not None and used.sound:
            faults += [f"{place}.{misfit}" for misfit in find_study_misfits(params, used)]
        chosen = datasets.get(params.dataset) if params.sound else None
        if chosen is not None and chosen.sound:
            faults += [
                f"{place}.{misfit}"
                for misfit in find_misfits_of_sizes(params, chosen.images.image_size)
            ]
    if faults:
        raise InputError("; also ".join(dict.fromkeys(faults)))
    return datasets


def _require_source(source: str, place: str) -> None:
    """Raise InputError unless the source can be downloaded, or is a folder of images."""
    known = [name for name in ASSETS if name not in NO_IMAGE_SETS]
    if source in known:
        return
    if not NAME.fullmatch(source) or source in NO_IMAGE_SETS:
        raise InputError(f"{place}: {source[:MAX_SHOWN]!r} is no name; use letters, digits and _")
    if (RAW / source).is_dir():
        find_images(RAW / source)  # what is wrong with it is said before any work
    else:
        raise InputError(
            f"{place}: {source!r} is no known data set ({suggest(source, known)}), "
            f"and there is no folder {RAW / source} of your own images"
        )


def load_gate(path: Path = PARAMS_FILE) -> GateConfig:
    """Return the rule by which a candidate becomes the champion. Raises InputError."""
    return _build_gate(path, read_yaml(path))


def _build_gate(path: Path, content: Mapping) -> GateConfig:
    return build(GateConfig, content.get("gate"), f"{path} gate")


def find_sections(root: str) -> dict[str, Schema]:
    """Return every section that an entry under a root has, with its type."""
    sections: dict[str, Schema] = {}
    if root == "experiments":  # of no stage: what is registered (tasks.registry.sampler)
        sections["registered_sampler"] = SamplerSource
    names = LATENTS if root == "latent_studies" else STAGES + ON_DEMAND
    for stage in map(_module, names):
        if stage.ROOT == root:
            for name, schema in stage.SECTIONS.items():
                if sections.get(name, dict) is dict:  # dict: this stage takes the section as it is
                    sections[name] = schema
    return sections


def _module(stage: str) -> ModuleType:
    return importlib.import_module(f"diffusevae.stages.{stage}")


def _build_entries(
    path: Path, content: Mapping, root: str, faults: list[str]
) -> dict[str, SimpleNamespace]:
    """Return the entries under a root with their sections built; what cannot be is a fault."""
    entries = content.get(root)
    if not isinstance(entries, Mapping) or not entries:
        raise InputError(f"{path} {root}: expected a mapping with at least one entry; add it")
    sections = find_sections(root)
    built = {}
    for name, entry in entries.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            faults.append(
                f"{path} {root}: {str(name)[:MAX_SHOWN]!r} is no name; use letters, "
                "digits and _, at most 60 in all"
            )
        elif not isinstance(entry, Mapping):
            faults.append(f"{path} {root}.{name}: expected a mapping of sections")
        else:
            built[name] = _build_sections(f"{path} {root}.{name}", entry, sections, faults)
    return built


def _build_sections(
    place: str, entry: Mapping, sections: Mapping[str, Schema], faults: list[str]
) -> SimpleNamespace:
    before = len(faults)
    faults += [
        f"{place}.{str(name)[:MAX_SHOWN]}: unknown key; {suggest(name, sections)}"
        for name in entry
        if name not in sections
    ]
    faults += [f"{place}.{name}: missing; add it" for name in sections if name not in entry]
    params = SimpleNamespace(dataset=entry.get("dataset"))
    for name in filter(entry.__contains__, sections):
        try:
            setattr(params, name, build(sections[name], entry[name], f"{place}.{name}"))
        except InputError as error:
            faults.append(str(error))
    params.sound = len(faults) == before
    return params
