"""Randomness as an argument: generators derived from a seed and a place in the run.

A draw depends on (seed, purpose, epoch, batch, ...) only, never on what was drawn before, so a
resumed run draws what an unbroken one draws.
"""

import hashlib

import torch
from torch import Generator


def seed_of(seed: int, *keys: int | str) -> int:
    """Return a 63-bit seed that depends on every key, e.g. seed_of(0, "vae", epoch, batch)."""
    text = "/".join(map(str, (seed, *keys)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *keys: int | str, device: torch.device | str = "cpu") -> Generator:
    """Return a torch generator on `device` seeded by `seed_of`."""
    return Generator(device=device).manual_seed(seed_of(seed, *keys))
