"""What a search can draw for the sections that it tunes."""

import dataclasses
from types import SimpleNamespace
from typing import Any

from diffusevae.core.errors import InputError
from diffusevae.core.params import override
from diffusevae.core.wording import suggest
from diffusevae.tuning.search_space import check_space, list_combinations

# What each search may vary: what the training that reads its result takes from it.
TUNABLE = {
    "tune_vae": ("vae", "vae_optimiser"),
    "tune_ddpm": ("diffusion", "unet", "diffusion_optimiser"),
}


def draw_sections(params: SimpleNamespace, stage: str, misfits: list[str]) -> dict[str, list[Any]]:
    """Return the tuned sections with what the search can draw for each; add what is wrong."""
    space = getattr(params, stage).space
    try:
        check_space(space)
    except InputError as error:
        misfits.append(f"{stage}.{error}")
        return {}
    drawn = {}
    for section, keys in space.items():
        place = f"{stage}.space.{section}"
        config: Any = getattr(params, section, None)
        if section not in TUNABLE[stage]:
            misfits.append(f"{place}: cannot be tuned; {suggest(section, TUNABLE[stage])}")
        elif unknown := [key for key in keys if not hasattr(config, str(key))]:
            known = [field.name for field in dataclasses.fields(config)]
            misfits += [f"{place}.{key}: unknown key; {suggest(key, known)}" for key in unknown]
        else:
            try:
                drawn[section] = [
                    override(config, values, place) for values in list_combinations(keys, config)
                ]
            except InputError as error:
                misfits.append(str(error))
    return drawn if getattr(params, stage).n_trials else {}
