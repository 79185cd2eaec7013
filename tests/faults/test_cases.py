"""The list of faults is complete, and says truly which of them a test does."""

import re
from collections import Counter

from tests.support.checkouts import ROOT
from tests.support.fault_table import NAMED, format_table, read_cases

MARKED = re.compile(r"\bmark\.fault\(([^)]*)\)")


def find_tested() -> set[str]:
    """Return the ids that tests carry in a mark or, in this folder, in their names."""
    found = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text()
        for ids in MARKED.findall(text):
            found.update(re.findall(r'"(\w+)"', ids))
        for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE):
            if named := NAMED.match(name):
                found.update(named[1].split("_"))
    return found


def test_every_fault_has_a_test_or_is_said_to_be_open():
    cases = read_cases()
    count = Counter(fault[0] for fault in cases)
    assert count == dict(D=17, T=20, O=12, F=15, R=8, B=9, S=10)
    is_open = {fault for fault, case in cases.items() if "open" in case}
    assert find_tested() == set(cases) - is_open


def test_the_table_tells_what_failed_from_what_was_not_run():
    cases = {f"T{i}": {"fault": f"fault {i}", "must": "end"} for i in range(5)}
    outcomes = {
        "T0": Counter(passed=2, skipped=1),
        "T1": Counter(passed=1, failed=1),
        "T2": Counter(skipped=1),
    }
    cases["T3"]["open"] = "no sun"
    assert list(format_table(cases, outcomes, {"T1": "test_x", "T2": "no mount"})) == [
        "T0  passed   fault 0: end (2 tests)",
        "T1  FAILED   fault 1: end (test_x)",
        "T2  not run  fault 2: end (no mount)",
        "T3  no test  fault 3: end (no sun)",
        "T4  no test  fault 4: end (not among the tests chosen)",
        "1 passed, 1 FAILED, 1 not run, 2 no test of 5",
    ]
