"""The names of the stages, in the order of dvc.yaml."""

STAGES = (
    "download",
    "prepare",
    "train_classifier",
    "tune_vae",
    "train_vae",
    "tune_ddpm",
    "train_ddpm",
    "train_diffusevae",
    "sample",
    "evaluate",
    "figures",
    "report",
)
# Beyond those of the flow.
ON_DEMAND = (
    "ablate",
    "frontier",
    "distil",
    "compress",
    "robustness",
    "priors",
    "guide",
    "restore",
    "theory",
)
LATENTS = ("beta_vae", "sprites", "spectra", "autoencoders", "overview")  # of flows.latents
ALL_STAGES = STAGES + ON_DEMAND + LATENTS
TRAINED_TOGETHER = ("train_vae", "train_ddpm", "train_diffusevae")  # by several processes
