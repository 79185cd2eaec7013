"""Which device the work runs on, and how exactly: the environment says so, never params.yaml."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from diffusevae.core.errors import EnvironmentFailure, InputError

DEVICE_VARIABLE = "DIFFUSEVAE_DEVICE"
PRECISION_VARIABLE = "DIFFUSEVAE_PRECISION"
PRECISIONS = ("float32", "bfloat16")
LAUNCH_VARIABLE = "DIFFUSEVAE_LAUNCH"
LAUNCHES = ("plain", "captured", "compiled")
# Images that go through a network until compiling it has been earned back, on an H100: it takes 20
# to 37 s, and an image of 32 x 32 then goes through the UNet of `mnist` 0.025 ms faster, or 0.02 ms
# where it is trained on (n = 1, docs/performance.md).
COMPILED_FROM = 2_000_000
# Of malloc.h in glibc. The first takes no more than 32 MiB before glibc 2.35.
M_MMAP_THRESHOLD, LARGEST_KEPT = -3, 2**25
M_TRIM_THRESHOLD, MOST_KEPT = -1, 2**31 - 1


def choose_device() -> torch.device:
    """Return the device named by DIFFUSEVAE_DEVICE (cpu, cuda, cuda:1), else a GPU if there is one.

    Also switches torch to deterministic kernels, so that the same machine gives the same bytes, and
    to float32 that is no TF32 on a GPU, and lets the process keep memory that tensors free for the
    next ones.
    Raises InputError for a name torch does not know or a DIFFUSEVAE_PRECISION or _LAUNCH there is
    not, EnvironmentFailure for an absent device.
    """
    name = os.environ.get(DEVICE_VARIABLE) or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(
            f"{DEVICE_VARIABLE}: {name!r} is not a device; use cpu, cuda or cuda:N"
        ) from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(
            f"{DEVICE_VARIABLE}: nothing here runs on {name!r}; use cpu, cuda or cuda:N"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EnvironmentFailure(
            f"{DEVICE_VARIABLE}: {name} is not on this machine, which has "
            f"{torch.cuda.device_count()} CUDA devices; use cpu"
        )
    if device.type == "cuda" and device.index:
        torch.cuda.set_device(device)  # what names no device is about this one: clocks, memory
    for variable, values in ((PRECISION_VARIABLE, PRECISIONS), (LAUNCH_VARIABLE, LAUNCHES)):
        value = os.environ.get(variable)
        if value and value not in values:
            raise InputError(f"{variable}: {value!r} is none; use {' or '.join(values)}")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products
    torch.set_deterministic_debug_mode("warn")
    # What does not compute in bfloat16 is float32, and not its first ten bits: features, metrics.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    # Finds bugs, costs a fifth. The module's class has it, which its stubs do not say.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if device.type == "cpu":
        _keep_freed_memory()
    return device


def precision(device: torch.device) -> str:
    """Return in which of PRECISIONS networks compute: as DIFFUSEVAE_PRECISION says.

    Without one that is bfloat16 on a GPU, where matrix products and convolutions are several times
    faster, and float32 elsewhere.
    """
    default = "bfloat16" if device.type == "cuda" else "float32"
    return os.environ.get(PRECISION_VARIABLE) or default


def autocast(device: torch.device) -> AbstractContextManager:
    """Return the context in which a network computes, in this device's `precision`.

    Weights, optimiser and what torch deems delicate stay float32.
    """
    if precision(device) == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


@contextmanager
def strictly_deterministic(device: torch.device) -> Iterator[None]:
    """Let a GPU run none but deterministic kernels: of attention's gradient there are others.

    `choose_device` has torch warn of these, and use them; so it does not refuse what has no other
    kernel. Here that raises RuntimeError.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)


def launch(device: torch.device, num_images: int) -> str:
    """Return how steps that take so many images through a network in all run: one of LAUNCHES.

    As DIFFUSEVAE_LAUNCH says. Without one that is "captured" on a GPU, as CUDA graphs, or
    "compiled" and then captured where compiling is earned back; "plain" elsewhere.
    """
    default = "plain"
    if device.type == "cuda":
        default = "captured" if num_images < COMPILED_FROM else "compiled"
    return os.environ.get(LAUNCH_VARIABLE) or default


def _keep_freed_memory() -> None:
    """Tell glibc not to hand each freed tensor back to the kernel, only to ask for it again.

    Every page that comes back is filled with zeros first: a tenth of a training step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, MOST_KEPT)
