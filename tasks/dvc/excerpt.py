"""What dvc.lock says of published results, kept beside them: the params they were made with.

dvc.lock moves on with every run; what stands in docs/results is of the run that was published.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from diffusevae.core.yaml_file import read_yaml
from diffusevae.data.dataset import OFFICIAL
from diffusevae.experiments.experiment import Experiment
from diffusevae.report.reference_study import Scale

FILE = "lock.yaml"
KEPT = ("params", "outs")  # of a stage's entry: not its command, not its code
Excerpt = Mapping[str, Mapping]


def take_excerpt(lock: Mapping, experiment: Experiment, on_demand: tuple[str, ...]) -> Excerpt:
    """Return what dvc.lock (its content) holds of an experiment's stages: params and outputs."""
    wanted = [*experiment.targets, *(f"{stage}@{experiment.name}" for stage in on_demand)]
    stages = lock.get("stages", {})
    return {
        target: {part: stages[target][part] for part in KEPT if part in stages[target]}
        for target in wanted
        if target in stages
    }


def trace_excerpt(lock: Mapping, target: str) -> Excerpt:
    """Return what dvc.lock (its content) holds of a stage and of those that it was made from.

    A stage before it whose output is by now another than the one that was read is left out; empty
    where the target itself is unknown.
    """
    stages = lock.get("stages", {})
    wanted, found = [target], {}
    while wanted:
        name = wanted.pop()
        if name in found or name not in stages:
            continue
        found[name] = {part: stages[name][part] for part in KEPT if part in stages[name]}
        deps = {dep["path"]: dep.get("md5") for dep in stages[name].get("deps", [])}
        wanted += [
            maker
            for maker, entry in stages.items()
            if any(_is_read(out, deps) for out in entry.get("outs", []))
        ]
    return {name: found[name] for name in [*stages] if name in found}


def _is_read(out: Mapping, deps: Mapping[str, str]) -> bool:
    """Whether a stage with these dependencies read an output, or a file in it."""
    path = out["path"]
    if path in deps:
        return deps[path] == out["md5"]
    return any(dep.startswith(f"{path}/") for dep in deps)


def read_excerpt(folder: Path) -> Excerpt:
    """Return the excerpt that stands beside published results. Raises InputError."""
    return read_yaml(folder / FILE)


def write_excerpt(folder: Path, excerpt: Excerpt) -> None:
    """Write an excerpt beside results."""
    yaml = YAML()
    yaml.default_flow_style = False
    with (folder / FILE).open("w", encoding="utf-8") as file:
        yaml.dump(excerpt, file)


def find_section(excerpt: Excerpt, section: str) -> Any:
    """Return the value of a section of params.yaml, such as "compress", that the results are of."""
    for entry in excerpt.values():
        for key, value in entry.get("params", {}).get("params.yaml", {}).items():
            if key.split(".", 2)[2:] == [section]:
                return value
    raise KeyError(section)


def find_source(excerpt: Excerpt) -> str:
    """Return what the results' data set was made of: a download, or a folder of images."""
    return find_section(excerpt, "images")["source"]


def find_scale(excerpt: Excerpt, num_test: int) -> Scale:
    """Return how long and on how many images the models were trained, num_test being given."""
    images = find_section(excerpt, "images")
    num_train = images["train_images"]
    if num_train is None and images["source"] in OFFICIAL:
        num_train = OFFICIAL[images["source"]][0] - images["validation_images"]
    return Scale(
        num_train,
        find_section(excerpt, "train_vae")["epochs"],
        find_section(excerpt, "train_diffusevae")["epochs"],
        num_test,
    )


def find_hash(excerpt: Excerpt, path: Path) -> str | None:
    """Return the hash of a file or folder that is an output of a stage; None where it is none."""
    outs = (out for entry in excerpt.values() for out in entry.get("outs", []))
    return next((out["md5"] for out in outs if out["path"] == path.as_posix()), None)
