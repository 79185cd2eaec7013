"""How much of a VAE's code is in use: KL of each latent number, and those that tell images apart.

Posterior collapse leaves a latent number at N(0, 1) for every image: its KL is 0, its mean does not
vary (docs/study.md, section 12).
"""

from torch import Tensor

from diffusevae.models.vae_losses import kl_of_latents

ACTIVE_VARIANCE = 0.01  # Burda, Grosse and Salakhutdinov (2016)


def kl_by_number(mu: Tensor, logvar: Tensor) -> Tensor:
    """Return the KL of each latent number in nats, its mean over images: D, of N x Cz x h x w."""
    return kl_of_latents(mu, logvar).flatten(1).mean(0)


def find_active(mu: Tensor) -> Tensor:
    """Return which latent numbers are active: D booleans, of mu (N x ...), N >= 2.

    One is where the variance of its mean over images is above 0.01.
    """
    return mu.flatten(1).var(0) > ACTIVE_VARIANCE


def measure_use(mu: Tensor, logvar: Tensor) -> dict[str, float]:
    """Return the numbers that say how a Gaussian code is used, of N x Cz x h x w each.

    latent_numbers (D), active_units, and kl_per_number: its least, median and greatest.
    """
    kl = kl_by_number(mu, logvar)
    return {
        "latent_numbers": len(kl),
        "active_units": int(find_active(mu).sum()),
        "kl_per_number_least": float(kl.min()),
        "kl_per_number_median": float(kl.median()),
        "kl_per_number_greatest": float(kl.max()),
    }
