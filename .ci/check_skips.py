# ruff: noqa: INP001 (a script that CI runs)
"""Fail if a test was skipped in every job: ``check_skips.py RESULTS...``, where RESULTS are JUnit files of pytest.

A test that no job runs tests nothing.
"""

import sys
import xml.etree.ElementTree as ET
from collections import defaultdict


def read(path: str) -> dict[str, str | None]:
    """Return the reason of each test's skip, or None if it ran, by the test's name."""
    reasons: dict[str, str | None] = {}
    for case in ET.parse(path).iter("testcase"):  # noqa: S314, our own file
        skipped = case.find("skipped")
        name = f"{case.get('classname')}::{case.get('name')}"
        reasons[name] = None if skipped is None else skipped.get("message", "")
    return reasons


def main(paths: list[str]) -> int:
    """Print the tests that were skipped everywhere, and return the exit status."""
    found: defaultdict[str, list[str | None]] = defaultdict(list)
    for path in paths:
        for name, reason in read(path).items():
            found[name].append(reason)
    skipped = {name: reasons[0] for name, reasons in found.items() if None not in reasons}
    # A module that is skipped as a whole is one entry, "::module"; in a job that runs it, its tests are the entries.
    places = {name.partition("::")[0] for name, reasons in found.items() if None in reasons}
    modules = {f"::{module}" for place in places for module in (place, place.rpartition(".")[0])}  # or a class's
    skipped = {name: reason for name, reason in skipped.items() if name not in modules}
    for name, reason in sorted(skipped.items()):
        print(f"skipped in every job: {name}: {reason}")
    print(f"{len(found)} tests in {len(paths)} jobs, {len(skipped)} skipped in every one")
    return 1 if skipped or not found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
