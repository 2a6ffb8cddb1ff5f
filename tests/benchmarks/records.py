"""Records with known numbers, and the schema that every record follows."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from benchmarks.record import FORMAT
from benchmarks.subjects.condition import Condition

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "docs" / "results.schema.json"
MACHINE = {
    "cpu": "a CPU",
    "cores": {"usable": 2},
    "os": "an OS",
    "python": "CPython",
    "gil": True,
    "packages": {},
    "load_before": 0.0,
}
LATE, VERY_LATE, ON_TIME = [1.0] * 90 + [30.0] * 30, [1.0] * 90 + [300.0] * 30, [0.2] * 120
PYTHON = Condition(workers=4, ui="thread", load="python")


def record_of(suite, measured, rounds=3):
    """Return a record in which each condition has the given latenesses, in ms, and rate of work in every round."""
    draw = np.random.default_rng(1)
    cells = []
    for number in range(1, rounds + 1):
        for condition, (late_ms, rate) in measured.items():
            late = draw.permutation(np.asarray(late_ms) * 1e6).astype(int).tolist()
            seen = {
                "first_due_ns": 0,
                "lateness_ns": late,
                "cpu_share": 0.001,
                "frames_per_s": 2000.0,
                "frame_ns": [400_000],
            }
            result = {
                "seconds": 2.0,
                "done": round(2 * rate),
                "ui": seen if condition.ui else None,
                "foreground": seen if condition.foreground else None,
                "machine": None,
                "levels": {},
                "gil": True,
            }
            cell = {"round": number, "name": condition.name, "condition": asdict(condition), "result": result}
            cells.append(cell)
    return {
        "format": FORMAT,
        "suite": suite,
        "settings": {},
        "seed": 3,
        "rounds": rounds,
        "started": "2026-01-01T00:00:00+00:00",
        "finished": None,
        "complete": True,
        "machine": MACHINE,
        "skipped": [],
        "cells": cells,
    }


def check_schema(record):
    jsonschema = pytest.importorskip("jsonschema")
    if SCHEMA.exists():
        jsonschema.validate(record, json.loads(SCHEMA.read_text(encoding="utf-8")))
