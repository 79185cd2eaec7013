"""The sampler that was chosen on validation images, measured once on test images: the default.

Where it is not proven within the margins there too, the converged sampler stays the default.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace

from diffusevae.core.params import leave_out_defaults
from diffusevae.core.stage_log import StageLog
from diffusevae.sampling.generation import Pair
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.studies.frontier.frontier_study import (
    Subject,
    converged,
    make_images,
    measure_images,
)
from diffusevae.studies.frontier.non_inferiority import JUDGED, Trial, compare_points, passes


@dataclass(frozen=True)
class Confirmation:
    """What was chosen (None: nothing), and how its one comparison on test images ended.

    default: the chosen sampler if it was confirmed, else the converged one; measured: that one on
    the num_images test images. row: the comparison, as of `compare_points`.
    """

    chosen: Mapping[str, object] | None
    confirmed: bool
    row: Mapping[str, float | bool] | None
    default: SamplerConfig
    measured: Mapping[str, float | bool]
    num_images: int


def confirm(
    pair: Pair,
    chosen: Mapping[str, object] | None,
    subject: Subject,
    params: SimpleNamespace,
    log: StageLog,
) -> Confirmation:
    """Hold the chosen sampler against the converged one on the test images of `subject`."""
    config, seed = params.frontier, params.seed
    trial = Trial(config.margins, 1, subject.reference, config.num_resamples, seed)
    end = converged(params.sampler, config)

    def measure(sampler: SamplerConfig) -> dict:
        return measure_images(*make_images(pair.diffusevae, sampler, subject, seed), subject)

    best = measure(end)
    row, default, confirmed = None, end, False
    if chosen is not None:
        sampler = dataclasses.replace(params.sampler, **chosen)
        row = compare_points(measure(sampler), best, trial)
        confirmed = passes(row)
        default = sampler if confirmed else end
    measured = row if row is not None and confirmed else compare_points(best, best, trial)
    verdict = "nothing to confirm" if row is None else "confirmed" if confirmed else "not confirmed"
    log.message(f"chosen: {chosen}; on test images: {verdict}; default: {name_point(default)}")
    values = {name: measured[name] for name in JUDGED}
    return Confirmation(chosen, confirmed, row, default, values, len(subject.real))


def name_point(sampler: SamplerConfig) -> dict[str, str | float | int]:
    """Return what tells a point of the frontier from others: sampler, eta and num_steps."""
    return {"sampler": sampler.sampler, "eta": sampler.eta, "num_steps": sampler.num_steps}


def describe(found: Confirmation) -> dict[str, object]:
    """Return what default.json says of it."""
    return {
        "chosen": found.chosen,
        "confirmed": found.confirmed,
        "confirmation": found.row,
        "sampler": leave_out_defaults(found.default),
        "measured": dict(found.measured),
        "num_images": found.num_images,
    }
