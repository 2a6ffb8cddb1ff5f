"""The record of a run: one JSON file, from which all output is made. Its schema is in ``docs/``."""

import json
from pathlib import Path
from typing import Any, Final

# Increased when files of an older version can no longer be shown.
FORMAT: Final = 2


def save(record: dict[str, Any], path: Path) -> None:
    """Write the record in one step: if this fails, an existing file stays intact."""
    draft = path.with_name(f"{path.name}.part")
    draft.write_text(json.dumps(record, separators=(",", ":")) + "\n", encoding="utf-8")
    draft.replace(path)


def load(path: Path) -> dict[str, Any]:
    """Read a record; a `ValueError` means that the file is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        found = record["format"]
    except (ValueError, TypeError, KeyError):
        msg = f"{path} is not a file of python -m benchmarks"
        raise ValueError(msg) from None
    if found != FORMAT:
        msg = f"{path} has format {found}, this program reads format {FORMAT}: run the benchmark again"
        raise ValueError(msg)
    return dict(record)
