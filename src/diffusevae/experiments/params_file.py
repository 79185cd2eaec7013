"""params.yaml as a whole: every section built, every fault named at once.

What a section may hold is said by the stage that reads it (SECTIONS in its module).
"""

import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Literal

from diffusevae.core.errors import InputError
from diffusevae.core.params import Schema, build
from diffusevae.core.wording import MAX_SHOWN, join_faults, suggest
from diffusevae.core.yaml_file import read_yaml
from diffusevae.experiments.consistency import find_misfits
from diffusevae.experiments.study_consistency import (
    find_misfits_of_counts,
    find_misfits_of_flips,
    find_misfits_of_sizes,
    find_study_misfits,
)
from diffusevae.experiments.training_consistency import (
    find_misfits_of_classifier,
    find_misfits_of_parts,
)
from diffusevae.metrics.promotion import GateConfig
from diffusevae.stages.names import LATENTS, ON_DEMAND, STAGES

Entries = Mapping[str, Mapping[str, SimpleNamespace]]  # by root and name
PARAMS_FILE = Path("params.yaml")
ROOTS = ("datasets", "experiments", "latent_studies", "gate")
SamplerSource = Literal["params", "frontier"]  # of the registered model's sampler
NAME = re.compile(r"[A-Za-z0-9_]{1,60}")


def check_params(path: Path, content: Mapping, roots: Sequence[str]) -> Entries:
    """Return params.yaml's entries. Raises InputError that names every fault under roots."""
    faults = [
        f"{path} {str(root)[:MAX_SHOWN]}: unknown key; {suggest(root, ROOTS)}"
        for root in content
        if root not in ROOTS
    ]
    entries = {root: _build_entries(path, content, root, faults) for root in roots}
    try:
        _build_gate(path, content)
    except InputError as error:
        faults.append(str(error))
    require_consistency(path, content, entries, faults)
    return entries


def require_consistency(
    path: Path, content: Mapping, entries: Entries, faults: Sequence[str] = ()
) -> None:
    """Raise InputError that names the faults, and all that does not fit together in entries."""
    found = [
        *faults,
        *_find_faults_of_experiments(path, content, entries),
        *_find_faults_of_studies(path, content, entries),
    ]
    if found:
        raise InputError(join_faults(found))


def _find_faults_of_experiments(path: Path, content: Mapping, entries: Entries) -> Iterator[str]:
    """Yield what does not fit together in the data sets and experiments."""
    datasets = entries["datasets"]
    for key, dataset in datasets.items():
        if dataset.sound:
            for misfit in find_misfits_of_classifier(dataset):
                yield f"{path} datasets.{key}.{misfit}"
    for key, params in entries["experiments"].items():
        place, name = f"{path} experiments.{key}", params.dataset
        yield from _find_unknown(place, params, content, {"dataset": "datasets"})
        if params.sound and name in datasets and datasets[name].sound:
            for misfit in find_misfits(params, datasets[name].images):
                yield f"{place}.{misfit}"


def _find_faults_of_studies(path: Path, content: Mapping, entries: Entries) -> Iterator[str]:
    """Yield what does not fit together in the latent studies, if these are looked at."""
    used = {"dataset": "datasets", "other_dataset": "datasets", "experiment": "experiments"}
    for key, params in entries.get("latent_studies", {}).items():
        place = f"{path} latent_studies.{key}"
        yield from _find_unknown(place, params, content, used)
        if not params.sound:
            continue
        yield from (f"{place}.{misfit}" for misfit in find_misfits_of_parts(params))
        experiment = entries["experiments"].get(params.experiment)
        if experiment is not None and experiment.sound:
            for misfit in find_study_misfits(params, experiment):
                yield f"{place}.{misfit}"
        named = (entries["datasets"].get(name) for name in (params.dataset, params.other_dataset))
        sets = [found.images for found in named if found is not None and found.sound]
        if len(sets) == 2:
            for misfit in [
                *find_misfits_of_sizes(params, sets[0].image_size),
                *find_misfits_of_counts(params, *sets),
                *find_misfits_of_flips(*sets),
            ]:
                yield f"{place}.{misfit}"


def _find_unknown(
    place: str, params: SimpleNamespace, content: Mapping, used: Mapping[str, str]
) -> Iterator[str]:
    """Yield the names by which an entry uses others, where there are none of that name."""
    for field, root in used.items():
        name = getattr(params, field, None)
        if isinstance(name, str) and name not in content[root]:
            yield (
                f"{place}.{field}: there is no {name[:MAX_SHOWN]!r}; "
                f"{suggest(name, map(str, content[root]))}"
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
    for stage in map(load_stage, names):
        if stage.ROOT == root:
            for name, schema in stage.SECTIONS.items():
                if sections.get(name, dict) is dict:  # dict: this stage takes the section as it is
                    sections[name] = schema
    return sections


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


def load_stage(name: str) -> ModuleType:
    """Return the module of a stage."""
    return importlib.import_module(f"diffusevae.stages.{name}")
