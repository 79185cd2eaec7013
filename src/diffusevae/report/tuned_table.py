"""What each search chose, beside params.yaml and, on its data sets, what the study's search found.

The study searched on MNIST alone, with another objective (docs/study.md, sections 5 and 12): its
values stand there to be seen, not to be reached.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from diffusevae.metrics.labels import MODEL_NAMES
from diffusevae.report.reference_study import PRINTED, TUNED
from diffusevae.report.report_tables import NOT_GIVEN, show

NOT_SEARCHED = "not searched"


@dataclass(frozen=True)
class Tuned:
    """A search: its stage, model and number of trials, and a row of texts for each parameter.

    A row: name, value in params.yaml, value chosen, and the study's where has_study.
    """

    stage: str
    model: str
    num_trials: int
    has_study: bool
    rows: tuple[tuple[str, ...], ...]


def list_tuned(
    source: str,
    params: Mapping[str, object],
    best: Mapping[str, Mapping],
    num_trials: Mapping[str, int],
) -> list[Tuned]:
    """Return each search of an experiment; best: what best.yaml of each stage says.

    params: the experiment's entry in params.yaml. Without trials nothing was chosen.
    """
    return [
        _list_one(stage, source in PRINTED, params, values, num_trials[stage])
        for stage, values in best.items()
    ]


def _list_one(
    stage: str, has_study: bool, params: Mapping[str, object], best: Mapping, num_trials: int
) -> Tuned:
    chosen = {
        f"{section}.{key}": show(value)
        for section, values in best.items()
        for key, value in values.items()
    }
    study = TUNED[stage] if has_study else {}
    rows = []
    for name in dict.fromkeys((*chosen, *study)):
        section, key = name.split(".", 1)
        values = params.get(section)
        base = values[key] if isinstance(values, Mapping) and key in values else None
        row = [name, NOT_GIVEN if base is None else show(base), chosen.get(name, NOT_SEARCHED)]
        rows.append((*row, show(study[name]) if name in study else NOT_GIVEN))
    shown = tuple(row if has_study else row[:3] for row in rows)
    model = MODEL_NAMES[stage.removeprefix("tune_")]
    return Tuned(stage, model, num_trials, has_study, shown)
