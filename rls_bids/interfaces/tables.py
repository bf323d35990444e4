"""Tab-separated tables as BIDS wants them: ``n/a`` for what is missing, full precision."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np


def save_table(
    columns: "Mapping[str, np.ndarray]", path: Path, *, n_rows: int | None = None
) -> None:
    """Write one column per entry; ``n_rows`` keeps the length of a table without columns."""
    import pandas as pd

    index = range(n_rows) if n_rows is not None else None
    frame = pd.DataFrame({name: list(column) for name, column in columns.items()}, index=index)
    frame.to_csv(path, sep="\t", na_rep="n/a", index=False, float_format="%.8g")


def load_table(path: str | Path, texts: "Sequence[str]" = ()) -> "dict[str, np.ndarray]":
    """Read a numeric table; ``n/a`` becomes NaN. The columns `texts` are left as they are."""
    import pandas as pd

    frame = pd.read_csv(path, sep="\t", na_values=["n/a"], dtype=dict.fromkeys(texts, str))
    return {
        str(name): frame[name].to_numpy(dtype=object if name in texts else float)
        for name in frame.columns
    }


def load_rows(path: str | Path) -> list[dict[str, str]]:
    """Read a table as it stands: one mapping of column to text a row."""
    import csv

    with Path(path).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))
