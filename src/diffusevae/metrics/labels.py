"""What models, ways to generate and directions are called in figures and in the report."""

MODEL_NAMES = {"vae": "VAE", "ddpm": "DDPM", "diffusevae": "DiffuseVAE"}
# Every way to generate an image, simplest first: its name and the model that has the last word.
WAYS = {
    "vae_prior": ("VAE, code from N(0, I)", "vae"),
    "vae_gmm": ("VAE, code from the fitted mixture", "vae"),
    "ddpm": ("DDPM, no code", "ddpm"),
    "diffusevae_prior": ("DiffuseVAE, code from N(0, I)", "diffusevae"),
    "diffusevae_gmm": ("DiffuseVAE, code from the fitted mixture", "diffusevae"),
}
FLOOR = "Real training images (the floor)"
ARROWS = {"higher": "↑", "lower": "↓"}


def describe_direction(better: str) -> str:
    """Return e.g. "↓ lower is better"."""
    return f"{ARROWS[better]} {better} is better"
