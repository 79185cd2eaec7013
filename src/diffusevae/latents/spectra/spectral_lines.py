"""Which latent moves which line of a spectrum: traversals measured at lines that are known."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.randomness import seed_of
from diffusevae.latents.measures.traversals import traverse
from diffusevae.latents.models.beta_vae import VectorVAE
from diffusevae.latents.spectra.measured_spectra import Spectra
from diffusevae.metrics.bootstrap import interval
from diffusevae.models.vae_losses import kl_of_latents

# Raman shifts in cm^-1 and what vibrates. Gypsum: Buzgar et al., "The Raman study of certain
# sulfates" (2009). Calcite: Buzgar and Apopei, "The Raman study of certain carbonates" (2009).
# Quartz: Kingma and Hemley, "Raman spectroscopic study of microcrystalline silica" (1994).
# Hematite: de Faria et al., "Raman microspectroscopy of some iron oxides and oxyhydroxides" (1997).
# Forsterite: Chopelas, "Single crystal Raman spectra of forsterite, fayalite, and monticellite"
# (1991). Zircon: Syme et al., "Raman spectrum of synthetic zircon" (1977).
KNOWN_LINES = {
    "Gypsum": (
        (414, "SO4 ν2"),
        (494, "SO4 ν2"),
        (619, "SO4 ν4"),
        (671, "SO4 ν4"),
        (1008, "SO4 ν1"),
        (1135, "SO4 ν3"),
    ),
    "Calcite": ((281, "lattice"), (711, "CO3 ν4"), (1086, "CO3 ν1")),
    "Quartz": ((206, "lattice"), (355, "lattice"), (464, "Si-O-Si")),
    "Hematite": ((225, "A1g"), (245, "Eg"), (292, "Eg"), (410, "Eg"), (611, "Eg")),
    "Forsterite": ((824, "SiO4 ν1+ν3"), (856, "SiO4 ν1+ν3")),
    "Zircon": ((357, "lattice"), (439, "SiO4 ν2"), (974, "SiO4 ν1"), (1008, "SiO4 ν3")),
}


def check_lines(spectra: Spectra) -> None:
    """Raise InputError where a mineral of KNOWN_LINES is missing, or a line lies off the axis."""
    if missing := [name for name in KNOWN_LINES if name not in spectra.names]:
        raise InputError(
            f"spectra: none of {', '.join(missing)}, whose lines the study measures; "
            f"the file has {', '.join(spectra.names)}"
        )
    lines = [shift for lines in KNOWN_LINES.values() for shift, _ in lines]
    low, high = spectra.shift[0], spectra.shift[-1]
    if low > min(lines) or high < max(lines):
        raise InputError(
            f"spectra: measured from {low:g} to {high:g} cm^-1; the study's lines "
            f"lie from {min(lines)} to {max(lines)} cm^-1"
        )


def traverse_all(model: VectorVAE, codes: Tensor, steps: int) -> Tensor:
    """Return codes (n x latents) decoded with one latent of them moved from -3 to +3.

    n x latents x steps x L in [0, 1].
    """
    paths = [traverse(model, codes, latent, steps) for latent in range(codes.shape[1])]
    return torch.stack(paths, 1).squeeze(3)


def measure_line(decoded: Tensor, shift: np.ndarray, line: float, window: float) -> Tensor:
    """Return the mean intensity (...) within `window` cm^-1 of a line, of spectra ... x L."""
    inside = np.abs(shift - line) <= window
    if not inside.any():
        raise InputError(
            f"spectra.line_window: {window} cm^-1 holds no channel at {line} cm^-1; widen it"
        )
    return decoded[..., torch.from_numpy(inside)].mean(-1)


@torch.inference_mode()
def measure_lines(
    model: VectorVAE, spectra: Spectra, steps: int, window: float, seed: int
) -> pd.DataFrame:
    """Return, for every known line and latent, how much the latent moves the line.

    Start is each spectrum of the line's mineral. swing: greatest less least intensity of the line
    on the way, mean over the starts with its 95 % interval (low, high); change: intensity at +3
    less that at -3; share: of the swings of all latents at this line.
    """
    rows = []
    for mineral, lines in KNOWN_LINES.items():
        mu, _ = model.encode(spectra.of(mineral))
        decoded = traverse_all(model, mu, steps)
        for line, vibration in lines:
            heights = measure_line(decoded, spectra.shift, line, window)  # n x latents x steps
            swings = heights.amax(-1) - heights.amin(-1)
            changes = (heights[..., -1] - heights[..., 0]).mean(0)
            shares = swings.mean(0) / swings.mean(0).sum()
            for latent in range(swings.shape[1]):
                key = seed_of(seed, "lines", mineral, line, latent)
                found = interval(swings[:, latent].numpy(), key)
                rows.append(
                    {
                        "line": f"{mineral} {line}",
                        "mineral": mineral,
                        "shift": line,
                        "vibration": vibration,
                        "latent": latent,
                        "swing": found["value"],
                        "low": found["low"],
                        "high": found["high"],
                        "change": float(changes[latent]),
                        "share": float(shares[latent]),
                        "num_spectra": len(swings),
                    }
                )
    return pd.DataFrame(rows)


def find_sharers(spectra: Spectra, mineral: str, line: float, window: float) -> list[str]:
    """Return the other minerals whose mean spectrum is half as high or more at a mineral's line."""
    heights = {
        name: float(measure_line(spectra.of(name).mean((0, 1)), spectra.shift, line, window))
        for name in spectra.names
    }
    return [
        name
        for name, height in heights.items()
        if name != mineral and height >= heights[mineral] / 2
    ]


def summarise_lines(
    measured: Sequence[pd.DataFrame], spectra: Spectra, pseudo_spectra: Tensor, window: float
) -> pd.DataFrame:
    """Return a row per line: its top latent's share and swing, median, least, greatest over models.

    `measured` holds a table of `measure_lines` per seed. Latents have no order that two trainings
    share, so what is compared is how far one latent has a line to itself. shared_by counts the
    other minerals that `find_sharers` finds at the line; measured and pseudo are the line's height
    in the mean of its mineral's spectra and in its pseudo-spectrum (K x 1 x L, of one model).
    """
    tops = pd.concat(
        [table.loc[table.groupby("line", sort=False)["swing"].idxmax()] for table in measured]
    )
    grouped = tops.groupby(["line", "vibration"], sort=False)
    summary = grouped.agg(
        top_share=("share", "median"),
        share_least=("share", "min"),
        share_greatest=("share", "max"),
        top_swing=("swing", "median"),
        swing_least=("swing", "min"),
        swing_greatest=("swing", "max"),
        num_seeds=("share", "size"),
        num_spectra=("num_spectra", "first"),
    )
    first = measured[0].drop_duplicates("line")
    for row in first.itertuples():
        means = (
            spectra.of(row.mineral).mean((0, 1)),
            pseudo_spectra[spectra.names.index(row.mineral), 0],
        )
        heights = [float(measure_line(mean, spectra.shift, row.shift, window)) for mean in means]
        sharers = find_sharers(spectra, row.mineral, row.shift, window)
        summary.loc[(row.line, row.vibration), ["measured", "pseudo", "shared_by"]] = (
            *heights,
            len(sharers),
        )
    return summary.reset_index().astype({"shared_by": int})


def find_common_latent(table: pd.DataFrame, mineral: str) -> tuple[int, int]:
    """Return (latent, lines): the latent that moves most of a mineral's lines the furthest."""
    own = table[table["mineral"] == mineral]
    tops = own.loc[own.groupby("line", sort=False)["swing"].idxmax(), "latent"]
    counts = tops.value_counts().sort_index()
    return int(counts.idxmax()), int(counts.max())


@torch.inference_mode()
def rank_latents(model: VectorVAE, spectra: Spectra, lines: pd.DataFrame) -> pd.DataFrame:
    """Return a row per latent, that of most KL first, with what it does to lines on the whole.

    kl is in nats, mean over all spectra; mean_swing over all known lines; `lines` is the model's
    table of `measure_lines`.
    """
    kl = kl_of_latents(*model.encode(spectra.intensities)).mean(0)
    grouped = lines.groupby("latent")["swing"]
    furthest = lines.loc[grouped.idxmax()].set_index("latent")
    table = pd.DataFrame(
        {
            "latent": range(len(kl)),
            "kl": kl.numpy(),
            "mean_swing": grouped.mean(),
            "furthest_line": furthest["line"],
            "furthest_swing": furthest["swing"],
        }
    )
    return table.sort_values("kl", ascending=False, kind="stable").reset_index(drop=True)
