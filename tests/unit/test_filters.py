"""Filter files: what they may say, what absent and present mean, what is refused."""

from pathlib import Path

import pytest

from rls_bids.dataset import filters
from rls_bids.errors import UsageError
from tests.factories import write_filter

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, ["plain", "run"]),
        ("*", ["acq", "both"]),
        ([None, "b"], ["both", "plain", "run"]),
        (["*"], ["acq", "both"]),
        ([None, "*"], ["acq", "both", "plain", "run"]),
        ("a", ["acq"]),
    ],
)
def test_absent_and_present(tmp_path: Path, wanted: object, expected: list[str]) -> None:
    stems = {"acq": "acq-a", "both": "acq-b_run-01", "plain": "x-y", "run": "run-2"}
    files = {
        name: filters.bids_file(f"/raw/sub-01/func/sub-01_task-rest_{stem}_bold.nii.gz")
        for name, stem in stems.items()
    }
    for spelling in ("acq", "acquisition"):
        path = write_filter(tmp_path, {"bold": {spelling: wanted}})
        chosen = filters.select(files.values(), filters.read_filters(path)["bold"])
        assert sorted(name for name, file in files.items() if file in chosen) == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"bolt": {}}, "the query 'bolt' is unknown"),
        ({"bold": {"tsak": "rest"}}, "the entity 'tsak' of the query 'bold' is unknown"),
        (
            {"bold": {"RepetitionTime": 2}},
            "'RepetitionTime' of the query 'bold' is a metadata key",
        ),
        ({"bold": {"task": True}}, "'task' of the query 'bold' is True"),
        ({"bold": {"task": {}}}, "'task' of the query 'bold' is {}"),
        ({"bold": {"task": []}}, "'task' of the query 'bold' is []"),
        ({"bold": "rest"}, "is not a filter file"),
        ([], "is not a filter file"),
    ],
)
def test_bad_filter_files(tmp_path: Path, content: object, words: str) -> None:
    path = write_filter(tmp_path, content)
    with pytest.raises(UsageError) as caught:
        filters.read_filters(path)
    assert caught.value.message.startswith(path)
    assert words in caught.value.message
    if "bolt" in content:
        assert caught.value.hint == "Did you mean 'bold'?"


def test_the_default_filter_is_the_example_for_users(tmp_path: Path) -> None:
    packaged = Path(filters.__file__).with_name("bids_filter.json").read_text(encoding="utf-8")
    example = ROOT / "bids_filter.json"
    assert example.read_text(encoding="utf-8") == packaged
    assert filters.read_filters(str(example)) == filters.default_queries()
    assert tuple(filters.default_queries()) == filters.QUERIES
