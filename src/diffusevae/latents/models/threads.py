"""How many CPU threads the small networks of the latent studies are computed with."""

import torch


def use_one_thread() -> None:
    """Let torch compute with one thread, whatever the machine has.

    In networks this small two threads wait for each other longer than they compute: beside other
    work a step took up to 25 times as long. It also makes the results the same on every number of
    cores.
    """
    torch.set_num_threads(1)
