"""Which device the work runs on. It is part of the environment, never of params.yaml."""

import os

import torch

from diffusevae.errors import EnvironmentFailure, InputError

DEVICE_VARIABLE = "DIFFUSEVAE_DEVICE"


def choose_device() -> torch.device:
    """Return the device named by DIFFUSEVAE_DEVICE (cpu, cuda, cuda:1), else a GPU if there is one.

    Also switches torch to deterministic kernels, so that the same machine gives the same bytes.
    Raises InputError for a name torch does not know, EnvironmentFailure for an absent device.
    """
    name = os.environ.get(DEVICE_VARIABLE) or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"{DEVICE_VARIABLE}: {name!r} is not a device; use cpu, cuda or cuda:N") \
            from error  # fmt: skip
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EnvironmentFailure(f"{DEVICE_VARIABLE}: {name} is not on this machine, which has "
                                 f"{torch.cuda.device_count()} CUDA devices; use cpu")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products
    torch.set_deterministic_debug_mode("warn")
    torch.utils.deterministic.fill_uninitialized_memory = False  # finds bugs, costs a fifth
    return device
