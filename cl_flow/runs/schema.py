"""Schema of run.json: older ones are migrated on reading, newer ones refused."""

__all__ = ["SCHEMA", "read_facts"]

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCHEMA = 2


def read_facts(folder: Path) -> dict[str, Any]:
    """Contents of a run's run.json, in today's schema.

    Raises:
        FileNotFoundError: No run in the folder.
        ValueError: Written by a newer version, or cut short.
    """
    path = folder / "run.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a run (a folder with run.json); got {folder}."
        )
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"Expected run.json to hold JSON; got {error} in {path}. "
            "Delete the folder to train the run anew."
        ) from error
    schema = facts.get("schema", 1)
    if schema > SCHEMA:
        raise ValueError(
            f"Expected a run of schema {SCHEMA} or older; got {schema} in {path}: "
            "a newer cl_flow wrote it. Update this one to read it."
        )
    for step in range(schema, SCHEMA):
        facts = MIGRATIONS[step](facts)
    return facts


def _from_1(facts: dict[str, Any]) -> dict[str, Any]:
    """Say what runs without a schema number did not: nothing of data and options."""
    return {"schema": 2, "data": None, "options": None, **facts}


# Schema -> the step from it to the next.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}
