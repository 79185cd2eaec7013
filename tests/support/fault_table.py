"""Which faults of tests/faults/cases.yaml the tests do, and a table of what came of each.

A plugin of pytest. The marker `fault` names the ids; a test that has one in its name, as
test_T17_..., gets the marker by itself. The table is printed where `-m fault` chose the tests.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

CASES = Path(__file__).parents[1] / "faults/cases.yaml"
NAMED = re.compile(r"test_([A-Z]\d+(?:_[A-Z]\d+)*)_")
MARK = "fault"


def read_cases() -> dict[str, dict[str, str]]:
    """Return each fault's id with its `fault`, `must`, and `open`, why no test does it."""
    parts = YAML(typ="safe").load(CASES)
    return {fault: case for part in parts.values() for fault, case in part.items()}


def ids_of(item: pytest.Item) -> list[str]:
    """Return the ids of the faults that a test does."""
    return [fault for mark in item.iter_markers(MARK) for fault in mark.args]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests whose names have ids, and let every report carry the ids."""
    for item in items:
        if named := NAMED.match(item.name):
            item.add_marker(pytest.mark.fault(*named[1].split("_")))
        item.user_properties += [(MARK, fault) for fault in ids_of(item)]


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    """Print the table."""
    if MARK not in config.option.markexpr.split():
        return
    outcomes: dict[str, Counter] = defaultdict(Counter)
    reasons = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            for fault in (value for name, value in report.user_properties if name == MARK):
                outcomes[fault][outcome] += 1
                if outcome == "skipped":
                    reasons[fault] = report.longrepr[2].removeprefix("Skipped: ")
                elif outcome != "passed":
                    reasons[fault] = report.nodeid
    terminalreporter.section("faults")
    for line in format_table(read_cases(), outcomes, reasons):
        terminalreporter.write_line(line)


def format_table(
    cases: dict[str, dict[str, str]], outcomes: dict[str, Counter], reasons: dict[str, str]
) -> Iterator[str]:
    """Yield a line for each fault, and a last one with how many came out in which way."""
    count: Counter = Counter()
    for fault, case in cases.items():
        found = outcomes.get(fault, Counter())
        if found["failed"] or found["error"]:
            state, why = "FAILED", reasons[fault]
        elif found["passed"]:
            state, why = "passed", f"{found['passed']} tests" if found["passed"] > 1 else ""
        elif found["skipped"]:
            state, why = "not run", reasons[fault]
        else:
            state, why = "no test", case.get("open", "not among the tests chosen")
        count[state] += 1
        yield f"{fault:4}{state:9}{case['fault']}: {case['must']}{f' ({why})' if why else ''}"
    yield ", ".join(f"{number} {state}" for state, number in count.items()) + f" of {len(cases)}"
