"""What a folder of images will be as a data set, said and shown before anything is trained.

It is read by the functions of the stage prepare: what is said here is what that stage does.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import matplotlib
import torch
from torch import Tensor

from diffusevae.core.disk import require_place
from diffusevae.core.params import load_sections
from diffusevae.core.yaml_file import read_yaml
from diffusevae.data.dataset import DatasetConfig, to_unit
from diffusevae.data.image_folder import OwnImages
from diffusevae.data.own_source import find_source, read_source
from diffusevae.data.preparation import cut, divide_own
from diffusevae.experiments.params_file import PARAMS_FILE
from diffusevae.figures.drawing import Strip, draw_strips, figure_style, save_figure
from tasks.lettering import find_families

PLACE = Path("scratch/data_check")
SHOWN_CLASSES, SHOWN_IMAGES = 10, 10
NO_FONT = "no font of this machine has all of its characters; install one, such as of Noto"
SIZE, INTERPOLATION, ANTIALIAS = 64, "bilinear", True  # where params.yaml says nothing of it


def check(folder: Path, out: Path | None = None) -> None:
    """Print what will be used, skipped and refused of a folder, and write a picture of it.

    It is seen as a data set of params.yaml whose source has the folder's name sees it, else at 64 x
    64. Raises InputError as the stage prepare would, after all the rest is said.
    """
    if out is None:
        PLACE.mkdir(parents=True, exist_ok=True)
        out = PLACE / f"{folder.resolve().name}.png"
    require_place(out)
    find_source(folder)  # what is wrong by names, labels and headers, before anything is decoded
    name, config = find_config(folder)
    how = (config.image_size, config.interpolation, config.antialias) if config else (
        SIZE, INTERPOLATION, ANTIALIAS
    )  # fmt: skip
    seen = f"as data set {name} of params.yaml" if config else "no data set of params.yaml has it"
    _say("seen", f"{how[0]} x {how[0]} pixels, {how[1]}{', antialias' * how[2]} ({seen})")
    own = read_source(folder, *how, say=lambda line: _say("found", line))
    for label, line in describe(own):
        _say(label, line)
    if len(own.images):
        unwritable = draw_sheet(own, out)
        _say("picture", str(out))
        for number in unwritable:
            _say("picture", f"class {number} is {own.classes[number]}: {NO_FONT}")
    own.require_sound(folder)
    if config:
        cut(config, divide_own(config, own), lambda line: _say("split", line))


def find_config(folder: Path) -> tuple[str, DatasetConfig | None]:
    """Return the first data set of params.yaml whose source is this folder's name, or none.

    Raises InputError where its images are described wrongly.
    """
    entries = read_yaml(PARAMS_FILE).get("datasets", {}) if PARAMS_FILE.is_file() else {}
    for name, entry in entries.items():
        images = entry.get("images", {}) if isinstance(entry, Mapping) else {}
        if isinstance(images, Mapping) and images.get("source") == folder.resolve().name:
            found = load_sections(PARAMS_FILE, "datasets", name, {"images": DatasetConfig})
            return name, found.images
    return "", None


def describe(own: OwnImages) -> Iterator[tuple[str, str]]:
    """Yield what is told of images, each line with the word before it."""
    yield "used", f"{len(own.files)} images{_list_kinds(own.files)}"
    for fault in own.faults:
        yield "refused", fault
    for note in own.notes:
        yield "noted", note
    if not len(own.images):
        return
    yield "sizes", _describe_sizes(own.sizes, own.files)
    coloured = int((own.images != own.images[:, :1]).flatten(1).any(1).sum())
    many = own.images.shape[1]
    yield "channels", f"{many} ({coloured} of {len(own.files)} images have colours)"
    counts = Counter(own.labels.tolist())
    some = [f"{name} {counts[number]}" for number, name in enumerate(own.classes[:20])]
    more = f" and {len(own.classes) - 20} more" if len(own.classes) > 20 else ""
    yield "classes", f"{len(own.classes)}: {', '.join(some)}{more}"


def draw_sheet(own: OwnImages, out: Path) -> list[int]:
    """Write a PNG of the first images of the first classes, as networks see them.

    Returns the classes that have their number above their images, as no font here has their name's
    characters.
    """
    families, missing = find_families(own.classes[:SHOWN_CLASSES])
    strips, unwritable = [], []
    for number, name in enumerate(own.classes[:SHOWN_CLASSES]):
        mine: Tensor = torch.nonzero(own.labels == number).flatten()[:SHOWN_IMAGES]
        if not len(mine):  # all of it is refused
            continue
        if missing & set(name):
            unwritable.append(number)
            name = f"class {number}"
        title = name[:60].replace("$", r"\$")  # which begins a formula
        strips.append(Strip(title, to_unit(own.images[mine])))
    with figure_style(), matplotlib.rc_context({"font.family": families}):
        save_figure(draw_strips(strips, SHOWN_IMAGES), out)
    return unwritable


def _describe_sizes(sizes: Sequence[tuple[int, int]], files: Sequence[str]) -> str:
    """Return the smallest and the largest, with an example of each, and the most frequent."""
    by_area = sorted(zip(sizes, files, strict=True), key=lambda each: each[0][0] * each[0][1])
    (least, example), (most, other) = by_area[0], by_area[-1]
    often, count = Counter(sizes).most_common(1)[0]
    if least == most:
        return f"{_by(often)}, all {count}"
    return (
        f"from {_by(least)} ({example}) to {_by(most)} ({other}); most often {_by(often)}: {count}"
    )


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _list_kinds(files: Sequence[str]) -> str:
    """Return how many files have each suffix; nothing for arrays."""
    kinds = Counter(Path(name).suffix.lower() for name in files)
    found = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()) if kind)
    return f": {found}" if found else ""


def _say(label: str, line: str) -> None:
    print(f"{label:9} {line}", flush=True)
