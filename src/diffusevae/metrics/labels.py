"""What models, ways to generate and directions are called in figures and in the report."""

MODEL_NAMES = {"vae": "VAE", "ddpm": "DDPM", "diffusevae": "DiffuseVAE"}
CONTROL = "VAE, grey values stretched"  # `metrics.grey_stretch`
# Who restores test images, in this order.
RESTORERS = {"vae": "VAE", "stretched": CONTROL, "diffusevae": "DiffuseVAE"}
# Every way to generate an image, simplest first: its name and the model that has the last word.
WAYS = {
    "vae_prior": ("VAE, code from N(0, I)", "vae"),
    "vae_gmm": ("VAE, code from the fitted mixture", "vae"),
    "stretched_gmm": ("VAE, code from the fitted mixture, grey values stretched", "vae"),
    "ddpm": ("DDPM, no code", "ddpm"),
    "diffusevae_prior": ("DiffuseVAE, code from N(0, I)", "diffusevae"),
    "diffusevae_gmm": ("DiffuseVAE, code from the fitted mixture", "diffusevae"),
}
RIVALS = ("vae_gmm", "stretched_gmm", "ddpm")  # of diffusevae_gmm
FLOOR = "Real training images (the floor)"
ARROWS = {"higher": "↑", "lower": "↓"}


def describe_direction(better: str) -> str:
    """Return e.g. "↓ lower is better"."""
    return f"{ARROWS[better]} {better} is better"
