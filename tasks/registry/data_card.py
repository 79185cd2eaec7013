"""What a registered model's card says of the images that the model was trained on and judged by."""

from diffusevae.core.tensor_file import sha256_of
from diffusevae.data.dataset import load_split
from diffusevae.experiments.experiment import Experiment

CIFAR10 = (
    "CIFAR-10 (Krizhevsky, 2009: photographs of the web in ten classes; it comes without a licence)"
)
ORIGINS = {
    "mnist": "MNIST (LeCun, Cortes and Burges: handwritten digits of NIST's special databases 1 "
    "and 3; passed on under CC BY-SA 3.0)",
    "fashion_mnist": "Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017: Zalando's article pictures; "
    "MIT licence)",
    "cifar10": CIFAR10,
    "cifar10_test": f"the test images of {CIFAR10}",
}
OWN = "the folder data/raw/{source} of whoever registered it, who answers for the rights in it"
CARD = """\
## Data

Made by the stages download and prepare of {origin}. Only images and labels; the models of this \
version were trained on the first split, chosen with the second and measured on the third:

{splits}
"""


def write_data_card(experiment: Experiment) -> str:
    """Return the Markdown on the data set: its origin, its licence, and each split as it is."""
    origin = ORIGINS.get(experiment.source, OWN.format(source=experiment.source))
    splits = "\n".join(
        f"- {part}: {_describe_split(experiment, part)}" for part in ("train", "validation", "test")
    )
    return CARD.format(origin=origin, splits=splits)


def _describe_split(experiment: Experiment, part: str) -> str:
    path = experiment.data("prepared", f"{part}.safetensors")
    if not path.exists():
        return "not at hand when this was registered"
    return f"{len(load_split(path).images):,} images, SHA-256 {sha256_of(path)}"
