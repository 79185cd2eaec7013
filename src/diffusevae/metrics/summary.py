"""The main numbers of a stage's table, as `dvc metrics` shows and compares them."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd


def save_summary(path: Path, table: pd.DataFrame, key: str, columns: Sequence[str]) -> None:
    """Write these columns as JSON, each row by its value of `key`; what is missing is left out."""
    rows = {
        name: {column: float(value) for column, value in row.items() if pd.notna(value)}
        for name, row in table.set_index(key)[list(columns)].iterrows()
    }
    path.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
