"""What is how fast, on the machine at hand: `diffusevae bench`."""

import os

from diffusevae.core.errors import guard_output

guard_output()
os.environ.setdefault("TQDM_DISABLE", "1")  # the peers' progress bars, between the tables
