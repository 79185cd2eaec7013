"""Who restores test images better, by the paired differences of metrics.json."""

from collections.abc import Mapping

from diffusevae.metrics.metric import METRICS

# Whom DiffuseVAE is held against, and where its difference to that one stands.
DIFFERENCES = {"vae": "difference", "stretched": "control"}


def find_winner(name: str, paired: Mapping) -> str:
    """Return the model that the paired differences of metrics.json favour, "" if none.

    DiffuseVAE has to be better than the VAE and than the control, the VAE with its grey values
    stretched: else two numbers would do what a network is praised for. The VAE is better where it,
    or the control (then "stretched"), is better than DiffuseVAE. Better: the 95 % interval of the
    difference leaves out zero. A control that was not measured proves nothing.
    """
    found = {
        rival: _find_better(name, paired[key][name]) if key in paired else ""
        for rival, key in DIFFERENCES.items()
    }
    if set(found.values()) == {"diffusevae"}:
        return "diffusevae"
    return next((rival for rival, better in found.items() if better == "rival"), "")


def _find_better(name: str, difference: Mapping[str, float] | None) -> str:
    """Return "diffusevae" or "rival" where a difference, DiffuseVAE's less its, proves it."""
    if difference is None or difference["low"] <= 0 <= difference["high"]:
        return ""
    lower = difference["high"] < 0
    return "diffusevae" if lower == (METRICS[name].better == "lower") else "rival"
