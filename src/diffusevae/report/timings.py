"""How long the stages took, added to a copy of a page that is no DVC output."""

from collections.abc import Mapping
from pathlib import Path

from diffusevae.core.template import render
from diffusevae.metrics.labels import MODEL_NAMES

TIMINGS_START, TIMINGS_END = "<!-- timings -->", "<!-- end of timings -->"
TEMPLATE = Path(__file__).with_name("timings.html")


def add_timings(html: str, timings: Mapping[str, Mapping[str, float]], device: str) -> str:
    """Return the report with a table of what the stages took in its section on timings.

    `timings` maps a stage to what StageLogger.timing recorded: seconds, peak_memory_mb, others by
    name. Raises ValueError where `html` has no such section.
    """
    head, start, rest = html.partition(TIMINGS_START)
    _, end, tail = rest.partition(TIMINGS_END)
    if not start or not end:
        raise ValueError("this HTML has no section for timings; give a report of build_report")
    rows = [_timing_row(stage, dict(values)) for stage, values in timings.items()]
    total = sum(values.get("seconds", 0.0) for values in timings.values())
    rows.append(_timing_row("all together", {"seconds": total}))
    table = render(TEMPLATE, rows=rows, device=device)
    return f"{head}{start}\n{table}\n{end}{tail}"


def format_seconds(seconds: float) -> str:
    """Return e.g. 42 ms, 3.1 s, 2 min 05 s, 1 h 20 min."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def _timing_row(stage: str, values: dict[str, float]) -> dict[str, str]:
    seconds, memory = values.pop("seconds", None), values.pop("peak_memory_mb", None)
    return {
        "stage": stage,
        "time": "" if seconds is None else format_seconds(seconds),
        "memory": "" if memory is None else f"{memory:,.0f} MB",
        "others": "; ".join(_describe_timing(name, value) for name, value in values.items()),
    }


def _describe_timing(name: str, value: float) -> str:
    who = name.removesuffix("seconds_per_image").strip("_")
    if name.endswith("seconds_per_image"):
        return f"{MODEL_NAMES.get(who, who)} {format_seconds(value)} per image".strip()
    return f"{name.replace('_', ' ')} {value:,.4g}"
