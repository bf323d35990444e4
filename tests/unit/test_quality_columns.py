"""Quality numbers of a session from those of its runs."""

import math
from pathlib import Path

import pytest

from rls_bids.dataset.naming import derivative
from rls_bids.dataset.quality import quality_columns
from rls_bids.records import GroupInput

HEADER = "mean_fd\tmax_fd\tminutes_kept\tdice_bold_t1w"


def write(root: Path, label: str, run: str | None, row: str, session=None, task="rest") -> None:
    path = root / derivative("quality", label, session, task=task, run=run)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEADER}\n{row}\n", encoding="utf-8")


def one(label: str, session: str | None = None) -> GroupInput:
    return GroupInput(
        participant=label, session=session, path="", mean_fd_mm=0.1, minutes_kept=5.0,
        degrees_of_freedom=9, size_mm="2", processing="{}",
    )  # fmt: skip


def test_runs_are_combined_as_their_numbers_need(tmp_path: Path) -> None:
    write(tmp_path, "01", "1", "0.1\t1.0\t6\tn/a")
    write(tmp_path, "01", "2", "0.4\t3.0\t2\tn/a")
    write(tmp_path, "01", "3", "9\t9\t9\tn/a", task="motor")
    write(tmp_path, "02", None, "0.3\tn/a\t4\tn/a", session="pre")
    write(tmp_path, "02", None, "7\t7\t7\t0.5", session="post")
    found = quality_columns(tmp_path, [one("02", "pre"), one("01"), one("03")], "rest")
    assert list(found) == ["mean_fd", "max_fd", "minutes_kept"]
    assert found["mean_fd"] == pytest.approx([0.3, (0.1 * 6 + 0.4 * 2) / 8, math.nan], nan_ok=True)
    assert found["max_fd"] == pytest.approx([math.nan, 3.0, math.nan], nan_ok=True)
    assert found["minutes_kept"] == pytest.approx([4, 8, math.nan], nan_ok=True)


def test_nothing_kept_still_has_a_mean(tmp_path: Path) -> None:
    write(tmp_path, "01", "1", "0.1\t1.0\t0\tn/a")
    write(tmp_path, "01", "2", "0.3\t1.0\t0\tn/a")
    assert quality_columns(tmp_path, [one("01")], "rest")["mean_fd"] == pytest.approx([0.2])
