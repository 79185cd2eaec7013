"""DiffuseVAE: a VAE is trained and frozen, and its reconstruction conditions a diffusion model."""

import os

# Read when torch loads its OpenMP: threads that wait give their core away instead of spinning.
# On a machine with other work (two cores, one of them busy) training is several times faster.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
