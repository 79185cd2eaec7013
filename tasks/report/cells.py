"""Cells of the tables of results: a value with its interval."""

from collections.abc import Mapping

from diffusevae.report.report_tables import format_value


def render_change(metric: str, row: Mapping, key: str) -> str:
    """Return the change [low, high] of a quantity in a row of a stage's table."""
    return render_interval(metric, row[f"{key}_change"], row[f"{key}_low"], row[f"{key}_high"])


def render_interval(metric: str, value: float, low: float, high: float) -> str:
    """Return value [low, high] of a metric."""
    middle, bottom, top = (format_value(metric, each) for each in (value, low, high))
    return f"{middle} [{bottom}, {top}]"
