"""DiffuseVAE: a VAE is trained and frozen, and its reconstruction conditions a diffusion model."""

import os

# Read when torch loads its OpenMP: a thread that waits for the others spins for a moment, then
# gives its core away. Without the limit, any other work on the machine slows training manyfold.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
