"""Bad input, one case each: what is said, and that readers never crash."""

import gzip
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from rls_bids.dataset import checks
from rls_bids.dataset.checks import check_bold, check_t1w, read_bold, read_t1w
from rls_bids.errors import EXIT_DATA, InputDataError
from tests.factories import BOLD_SHAPE, bold_array, write_nifti

GOOD = {"RepetitionTime": 2.0}


@pytest.fixture
def bold(tmp_path: Path) -> str:
    path = tmp_path / "sub-01_task-rest_bold.nii.gz"
    return str(write_nifti(path, bold_array(), repetition_time=2.0))


def only_note(path: str, metadata: dict, **kwargs) -> tuple[object, checks.Note]:
    facts, notes = check_bold(path, metadata, "01", **kwargs)
    assert len(notes) == 1
    return facts, notes[0]


def test_a_good_run_passes_without_a_word(bold: str) -> None:
    timing = [0.0, 1.0, 0.4, 1.4, 0.8, 1.8]
    facts, notes = check_bold(bold, GOOD | {"SliceTiming": timing}, "01")
    assert notes == ()
    assert facts is not None
    assert facts.n_volumes == 20
    assert facts.repetition_time == 2.0
    assert facts.slice_timing == tuple(timing)
    assert facts.slice_encoding_direction == "k"


@pytest.mark.parametrize(
    ("metadata", "template", "level"),
    [
        ({}, checks.NO_REPETITION_TIME, "failed"),
        ({"RepetitionTime": "2"}, checks.BAD_REPETITION_TIME, "failed"),
        ({"RepetitionTime": 2000}, checks.BAD_REPETITION_TIME, "failed"),
        ({"RepetitionTime": 2.2}, checks.OTHER_REPETITION_TIME, "failed"),
        ({"VolumeTiming": [0, 2, 6]}, checks.VOLUME_TIMING, "skipped"),
    ],
)
def test_bad_metadata_refuses_the_run(
    bold: str, metadata: dict, template: str, level: str
) -> None:
    facts, note = only_note(bold, metadata)
    assert facts is None
    found = metadata.get("RepetitionTime")
    assert note.message == template.format(path=bold, found=found, metadata=found, header=2.0)
    assert (note.level, note.exit_status, note.where) == (level, EXIT_DATA, bold)


@pytest.mark.parametrize(
    ("step", "unit", "is_fine"),
    [
        (2.0, "sec", True),
        (2.005, "sec", True),
        (2000.0, "msec", True),
        (2.0, "msec", False),
        (2e6, "usec", True),
        (2000.0, "unknown", True),
        (2.0, "unknown", True),
        (1.0, "unknown", True),
        (1.0, "sec", False),
        (0.0, "sec", True),
        (2.05, "sec", False),
    ],
)
def test_header_and_metadata_must_agree(
    tmp_path: Path, step: float, unit: str, is_fine: bool
) -> None:
    path = str(write_nifti(tmp_path / "b.nii", bold_array(), repetition_time=step, time_unit=unit))
    facts, _ = check_bold(path, GOOD, "01")
    assert (facts is not None) == is_fine


@pytest.mark.parametrize(
    ("extra", "template"),
    [
        ({"SliceTiming": [0.0, 1.0]}, checks.SLICE_TIMING_LENGTH),
        ({"SliceTiming": [0, 1000, 400, 1400, 800, 1800]}, checks.SLICE_TIMING_MS),
        ({"SliceTiming": [0, 1, 0.4, 1.4, 0.8, 2.4]}, checks.SLICE_TIMING_RANGE),
        ({"SliceTiming": [-0.1, 1, 0.4, 1.4, 0.8, 1.4]}, checks.SLICE_TIMING_RANGE),
        ({"SliceTiming": "ascending"}, checks.SLICE_TIMING_KIND),
        ({"SliceTiming": [0, 1, None, 1, 1, 1]}, checks.SLICE_TIMING_KIND),
        ({"SliceTiming": [0.0] * 6, "SliceEncodingDirection": "z"}, checks.BAD_DIRECTION),
    ],
)
def test_bad_slice_timing_is_left_out_with_a_warning(
    bold: str, extra: dict, template: str
) -> None:
    facts, note = only_note(bold, GOOD | extra)
    assert facts is not None
    assert facts.slice_timing is None
    assert note.level == "warning"
    assert note.exit_status == 0
    assert note.message.startswith(re.split(r"{(?!path)", template)[0].format(path=bold))
    assert note.message.endswith("slice timing is left out.")
    assert check_bold(bold, GOOD | extra, "01", use_slice_timing=False)[1] == ()


def test_slice_axis_follows_the_encoding_direction(bold: str) -> None:
    metadata = GOOD | {"SliceTiming": [0.0, 0.5, 1.0, 1.5], "SliceEncodingDirection": "i-"}
    facts, notes = check_bold(bold, metadata, "01")
    assert facts is not None
    assert (facts.slice_encoding_direction, notes) == ("i-", ())


def test_too_few_volumes_after_dummy_scans(bold: str) -> None:
    assert check_bold(bold, GOOD, "01", dummy_scans=10)[0] is not None
    facts, note = only_note(bold, GOOD, dummy_scans=11)
    assert facts is None
    assert note.message == checks.TOO_SHORT.format(path=bold, n_volumes=20, dummies=11, least=10)
    assert note.level == "skipped"


@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 5, 6, 1)])
def test_three_dimensional_bold(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = str(write_nifti(tmp_path / "b.nii.gz", np.ones(shape, np.float32)))
    facts, note = only_note(path, GOOD)
    assert facts is None
    assert note.message == checks.NOT_4D.format(path=path, shape=shape)


UNREADABLE = {"empty": b"", "text": b"no image", "gzip": gzip.compress(b"no image" * 100)}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_headers(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "sub-01_T1w.nii.gz"
    path.write_bytes(content)
    facts, note = only_note(str(path), GOOD)
    assert facts is None
    assert note.message.startswith(f"{path} cannot be read as NIfTI")
    assert note.hint == checks.UNREADABLE_HINT
    is_usable, notes = check_t1w(str(path), "01")
    assert not is_usable
    assert notes[0].level == "failed"
    with pytest.raises(InputDataError, match="cannot be read as NIfTI"):
        read_t1w(path)


def test_truncated_files(tmp_path: Path, bold: str) -> None:
    whole = Path(bold).read_bytes()
    Path(bold).write_bytes(whole[: len(whole) // 2])
    # The header is intact: only reading the voxels shows it.
    assert check_bold(bold, GOOD, "01")[0] is not None
    with pytest.raises(InputDataError) as caught:
        read_bold(bold)
    assert bold in caught.value.message
    assert caught.value.hint == checks.UNREADABLE_HINT
    plain = write_nifti(tmp_path / "b.nii", bold_array(), repetition_time=2.0)
    plain.write_bytes(plain.read_bytes()[:-100])
    assert "expected" in only_note(str(plain), GOOD)[1].message
    # Damage inside the compressed stream, not only at its end.
    write_nifti(Path(bold), bold_array(), repetition_time=2.0)
    damaged = bytearray(Path(bold).read_bytes())
    damaged[len(damaged) // 2 :] = bytes(len(damaged) - len(damaged) // 2)
    Path(bold).write_bytes(damaged)
    with pytest.raises(InputDataError, match="cannot be read as NIfTI"):
        read_bold(bold)


def test_pointers_are_told_from_images(tmp_path: Path) -> None:
    path = tmp_path / "sub-01_bold.nii.gz"
    path.symlink_to(tmp_path / ".git" / "annex" / "objects" / "x")
    facts, note = only_note(str(path), GOOD)
    assert facts is None
    assert "datalad get" in note.hint


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_no_numbers(tmp_path: Path, value: float) -> None:
    data = bold_array()
    data[1, 2, 3, 4] = value
    path = write_nifti(tmp_path / "b.nii.gz", data)
    with pytest.raises(InputDataError) as caught:
        read_bold(path)
    assert caught.value.message == checks.NOT_FINITE.format(path=path, count=1)
    path = write_nifti(tmp_path / "t.nii.gz", data[..., 4])
    with pytest.raises(InputDataError, match="NaN or infinite"):
        read_t1w(path)


def test_voxels_without_variation(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "b.nii.gz", np.full(BOLD_SHAPE, 7, np.float32))
    with pytest.raises(InputDataError) as caught:
        read_bold(path)
    assert caught.value.message == checks.CONSTANT.format(path=path)
    data = bold_array()
    data[..., 12:] = 0
    path = write_nifti(tmp_path / "b.nii.gz", data)
    with pytest.raises(InputDataError) as caught:
        read_bold(path)
    assert caught.value.message == checks.EMPTY_VOLUMES.format(
        path=path, volumes="12, 13, 14, 15, 16 and 3 more"
    )


def test_series_have_volumes_in_rows_and_scaling_applied(tmp_path: Path) -> None:
    data = np.arange(np.prod(BOLD_SHAPE), dtype=np.int16).reshape(BOLD_SHAPE)
    image = nib.Nifti1Image(data, np.diag([-3.0, 3, 3, 1]))
    image.header.set_slope_inter(0.5, 10)
    path = tmp_path / "b.nii.gz"
    nib.save(image, path)
    series, affine = read_bold(path)
    assert series.shape == (20, 4, 5, 6)
    assert series.dtype == np.float32
    assert series.flags.c_contiguous
    # What is stored is a stored integer times slope plus intercept, as nibabel gives it, too.
    expected = np.moveaxis(nib.load(path).get_fdata(), -1, 0)
    np.testing.assert_allclose(series, expected, rtol=1e-6)
    np.testing.assert_array_equal(affine, np.diag([-3.0, 3, 3, 1]))


def test_t1w_with_an_empty_fourth_axis(tmp_path: Path) -> None:
    data = bold_array((4, 5, 6, 1))
    path = write_nifti(tmp_path / "t.nii.gz", data)
    assert check_t1w(str(path), "01") == (True, ())
    np.testing.assert_array_equal(read_t1w(path)[0], data[..., 0])
    path = write_nifti(tmp_path / "t.nii.gz", bold_array())
    assert not check_t1w(str(path), "01")[0]
    with pytest.raises(InputDataError, match="three dimensions"):
        read_t1w(path)


def test_which_affine_is_used(tmp_path: Path) -> None:
    sform, qform = np.diag([-3.0, 3, 3, 1]), np.diag([-3.0, 3, 3, 1])
    qform[0, 3] = 5
    path = tmp_path / "t.nii.gz"
    image = nib.Nifti1Image(bold_array((4, 5, 6)), sform)
    image.set_sform(sform, code=1)
    image.set_qform(qform, code=1)
    nib.save(image, path)
    _, notes = check_t1w(str(path), "01")
    assert notes[0].message == checks.TWO_ORIENTATIONS.format(path=path, found=5.0)
    np.testing.assert_allclose(read_t1w(path)[1], sform)
    image.set_sform(sform, code=0)
    nib.save(image, path)
    assert check_t1w(str(path), "01") == (True, ())
    np.testing.assert_allclose(read_t1w(path)[1], qform)
    image.set_qform(qform, code=0)
    nib.save(image, path)
    _, notes = check_t1w(str(path), "01")
    assert notes[0].message == checks.NO_ORIENTATION.format(path=path)
