"""Every kind of field map as a data set holds it, read by the node, against the planted field."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from rls_bids.dataset.description import read_json
from rls_bids.errors import InputDataError
from rls_bids.interfaces import fieldmap
from rls_bids.phantom.bold import on_bold_grid, place_bold, resting_head
from rls_bids.phantom.cohort import load_model, make_person
from rls_bids.phantom.distortion import ECHO_SPACING_S, ECHO_TIMES_S
from rls_bids.phantom.fieldmaps import write_fieldmaps
from rls_bids.phantom.spec import CohortSpec, plan_cohort
from tests.factories import write_nifti

KINDS = {"phasediff": "phasediff", "phases": "two_phases", "fieldmap": "fieldmap"}


@pytest.fixture(scope="module")
def head():
    plan = plan_cohort(CohortSpec(size="tiny", distortion=1.0, random_seed=8))
    model = load_model(plan)
    person = make_person(plan, model, "RLS", 0)
    geometry = place_bold(plan, np.array([0.0, -18.0, 8.0]), np.random.default_rng(2))
    still = resting_head(plan, model, person.warp, geometry, None)
    tissue = np.sum(still.tissues, axis=0, dtype=np.float32)
    return model, person, geometry, on_bold_grid(tissue, still.factor, geometry.shape) > 0.5


def written(head, folder, kind, phase_encoding="A"):
    """Write one kind of map; returns its images, the field (Hz) and the brain as stored."""
    model, person, geometry, brain = head
    spec = CohortSpec(
        size="tiny", distortion=1.0, random_seed=8, fieldmap=kind, phase_encoding=phase_encoding
    )
    plan = plan_cohort(spec)
    rng = np.random.default_rng(3)
    truth = write_fieldmaps(folder / "sub-01", plan, model, person.warp, geometry, rng)
    files = sorted(folder.glob("*.nii.gz"))
    return files, truth[::-1], brain[::-1]  # stored as LAS


def estimate(folder: Path, **inputs):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        given = {"boldref": inputs["images"][0], "version": "1", **inputs}
        return fieldmap.EstimateField(**given).run(cwd=str(folder)).outputs


def error_mm(found, truth, brain, n_lines):
    """Mean error over brain that is shifted by more than 3 mm, and the mean shift there."""
    per_hz = ECHO_SPACING_S * n_lines * 4.0
    far = brain & (np.abs(truth) * per_hz > 3)
    assert far.sum() > 300
    difference = (nib.load(found.field).get_fdata() - truth) * per_hz
    return np.abs(difference[far]).mean(), np.abs(truth[far] * per_hz).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_maps_of_gradient_echoes(head, tmp_path, kind):
    files, truth, brain = written(head, tmp_path, kind)
    names = [file.name.split("_")[-1].split(".")[0] for file in files]
    images = [str(file) for file, name in zip(files, names, strict=True) if "magn" not in name]
    magnitude = next(str(file) for file, name in zip(files, names, strict=True) if "magn" in name)
    found = estimate(
        tmp_path,
        kind=KINDS[kind],
        images=images,
        magnitude=magnitude,
        echo_times=list(ECHO_TIMES_S),
    )
    error, planted = error_mm(found, truth, brain, truth.shape[1])
    assert error <= 0.75
    assert error <= planted / 4
    even = nib.load(found.reference).get_fdata()
    assert np.corrcoef(even[brain], nib.load(magnitude).get_fdata()[brain])[0, 1] > 0.9


@pytest.mark.parametrize("towards", ["A", "R"])
def test_a_pair_of_opposed_images(head, tmp_path, towards):
    files, truth, brain = written(head, tmp_path, "opposed", towards)
    told = {str(file): read_json(str(file).replace(".nii.gz", ".json")) for file in files}
    along = next(path for path in told if f"{towards}_epi" in path)
    against = next(path for path in told if path != along)
    direction = told[along]["PhaseEncodingDirection"]
    n_lines = truth.shape["ijk".index(direction[0])]
    found = estimate(
        tmp_path,
        kind="opposed",
        images=[along, against],
        direction=direction,
        line_times=[ECHO_SPACING_S * n_lines] * 2,
    )
    error, planted = error_mm(found, truth, brain, n_lines)
    assert error <= 0.75
    assert error <= planted / 4


def test_opposed_images_may_be_stored_in_different_ways(head, tmp_path):
    """The first one back to front, the second as it was; the field comes in the first's grid."""
    files, truth, brain = written(head, tmp_path, "opposed", "A")
    along = next(path for path in files if "A_epi" in path.name)
    against = next(path for path in files if path != along)
    image = nib.load(along)
    turned = image.as_reoriented(np.array([[0, 1], [1, -1], [2, 1]]))
    nib.save(turned, tmp_path / "turned.nii.gz")
    n_lines = truth.shape[1]
    found = estimate(
        tmp_path,
        kind="opposed",
        images=[str(tmp_path / "turned.nii.gz"), str(against)],
        direction="j-",  # the written one is j in LAS
        line_times=[ECHO_SPACING_S * n_lines] * 2,
    )
    error, planted = error_mm(found, truth[:, ::-1], brain[:, ::-1], n_lines)
    assert error <= 0.75
    assert error <= planted / 4


def test_a_map_without_magnitude_has_no_image_of_the_head(head, tmp_path):
    files, truth, brain = written(head, tmp_path, "fieldmap")
    image = next(str(file) for file in files if "fieldmap" in file.name)
    found = estimate(tmp_path, kind="fieldmap", images=[image], units="Hz")
    error, _ = error_mm(found, truth, brain, truth.shape[1])
    assert error <= 0.75
    assert not Path(str(found.reference)).is_file()


@pytest.mark.parametrize(
    ("phase", "magnitude_shape", "words"),
    [
        (30000.0, (6, 7, 8), "neither radians"),
        (4096.0, (6, 7, 9), "one grid"),
        (4096.0, (6, 7, 8), "no head"),
    ],
)
def test_what_cannot_be_used_is_told_in_a_sentence(tmp_path, phase, magnitude_shape, words):
    rng = np.random.default_rng(1)
    image = write_nifti(tmp_path / "p.nii.gz", rng.uniform(-phase, phase, (6, 7, 8)).astype("f4"))
    other = write_nifti(tmp_path / "m.nii.gz", np.ones(magnitude_shape, "f4"))
    with pytest.raises(InputDataError) as caught:
        estimate(
            tmp_path,
            kind="phasediff",
            images=[str(image)],
            magnitude=str(other),
            echo_times=list(ECHO_TIMES_S),
        )
    assert words in f"{caught.value.message} {caught.value.hint}"
    assert str(tmp_path) in caught.value.message
