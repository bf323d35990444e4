"""Our own maps as inputs of a group: selection, what sidecars must say, what is refused."""

from pathlib import Path

import pytest

from rls_bids.dataset import query, results
from rls_bids.dataset.description import write_dataset_description, write_json
from rls_bids.dataset.naming import derivative, sidecar
from rls_bids.dataset.query import query_group
from rls_bids.errors import InputDataError, UsageError
from rls_bids.settings import InputSettings
from tests.factories import write_dataset, write_filter

SPACE = "MNI152NLin2009cAsym"


def write_map(out: Path, label: str, session: str | None = None, **changes) -> None:
    entities = {"task": "rest", "space": SPACE, "res": "2", "denoise": "acompcor", "seed": "PCC"}
    entities |= {"stat": "fisherz"} | changes.pop("entities", {})
    metadata = {
        "MeanFramewiseDisplacement": 0.12,
        "MinutesKept": 6.5,
        "DegreesOfFreedom": 40,
        "Processing": {"b": 1.0, "Resolution": "2", "a": [0.01, 0.1]},
    } | changes
    path = derivative("seed_map", label, session, **entities)
    write_json(out / sidecar(path), metadata)
    if "Missing" not in metadata:
        (out / path).write_bytes(b"")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return an output folder with the maps of three participants."""
    root = write_dataset(tmp_path / "raw", {"01": {None: {}}})
    out = tmp_path / "out"
    write_dataset_description(out, root, "0.1.0")
    for label in ("01", "02", "10"):
        write_map(out, label)
        write_map(out, label, entities={"seed": "vpl", "stat": "pearsonr"})
        write_map(out, label, entities={"run": "1"})
        write_map(out, label, entities={"denoise": "24P"})
    write_map(out, "01", entities={"seed": "vpl"})
    write_map(out, "02", entities={"seed": "vpl"}, Missing="outside the field of view")
    return out


def group(out: Path, denoise: str = "acompcor", **wanted) -> results.GroupMaps:
    settings = InputSettings(bids_dir="/raw", output_dir=str(out), **wanted)
    return query_group(settings, denoise=denoise, space=SPACE, resolution="2")


def test_group_inputs(out: Path) -> None:
    found = group(out)
    assert sorted(found.inputs) == ["PCC", "vpl"]
    assert [one.participant for one in found.inputs["PCC"]] == ["01", "02", "10"]
    one = found.inputs["vpl"][0]
    assert one.path.endswith("_denoise-acompcor_seed-vpl_stat-fisherz_statmap.nii.gz")
    assert (one.mean_fd_mm, one.minutes_kept, one.degrees_of_freedom) == (0.12, 6.5, 40)
    assert one.processing == '{"Resolution":"2","a":[0.01,0.1],"b":1}'
    assert found.missing == {"vpl": {"02": "outside the field of view"}}
    assert [one.participant for one in group(out, "24P").inputs["PCC"]] == ["01", "02", "10"]
    assert len(group(out, exclude_participant_labels=("02",)).inputs["PCC"]) == 2
    assert len(group(out, participant_labels=("02",)).inputs["PCC"]) == 1


def test_group_requests_that_cannot_be_met(out: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        group(out, "6P")
    assert "denoise-6P" in caught.value.message
    assert "task-rest space-MNI152NLin2009cAsym res-2 denoise-24P" in caught.value.hint
    with pytest.raises(InputDataError) as caught:
        group(tmp_path)
    assert caught.value.message == query.NO_RESULTS.format(path=tmp_path)
    write_map(out, "02", DegreesOfFreedom=None)
    with pytest.raises(InputDataError, match="lacks what a group model needs"):
        group(out)
    write_map(out, "02")
    write_map(out, "01", entities={"acq": "b"})
    with pytest.raises(UsageError, match="a group model takes one"):
        group(out)
    path = write_filter(tmp_path, {"bold": {"acq": None}})
    assert len(group(out, bids_filter_file=path).inputs["PCC"]) == 3


def test_sessions_are_told_apart(out: Path) -> None:
    write_map(out, "01", "post")
    found = group(out).inputs["PCC"]
    assert [(one.participant, one.session) for one in found][:2] == [("01", None), ("01", "post")]
    only = group(out, session_labels=("post",)).inputs["PCC"]
    assert [one.session for one in only] == ["post"]
