"""A distorted head with a field map, from raw data to standard space, with and without it."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from rls_bids.dataset.description import read_json
from rls_bids.dataset.walk import walk
from rls_bids.numerics.resample import resample_volume, voxel_points
from rls_bids.phantom.dataset import write_cohort
from rls_bids.phantom.distortion import ECHO_SPACING_S, field_hz
from rls_bids.phantom.head import standard_model
from rls_bids.phantom.spec import CohortSpec
from tests.e2e.conftest import call

pytestmark = pytest.mark.e2e

STD = "space-MNI152NLin2009cAsym_res-2"
FUNC = "sub-RLS001/func/sub-RLS001_task-rest"
N_LINES = 54


def fit(out: Path) -> float:
    """Correlation of the BOLD reference in standard space with what the standard head shows there.

    Only where the planted field shifts tissue by more than a voxel. The phantom is made from the
    standard head, so that no other truth is needed.
    """
    image = nib.load(out / f"{FUNC}_{STD}_boldref.nii.gz")
    measured = image.get_fdata()
    model = standard_model(skull=False, dropout=True)
    points = voxel_points(measured > 0, image.affine)
    shown = ndimage.uniform_filter(model.epi, 4)
    expected = resample_volume(shown, model.affine, points)
    field = field_hz(tuple(points.T.astype(np.float32)), np.eye(4), 1.2)
    far = np.abs(field) * ECHO_SPACING_S * N_LINES > 1
    assert far.sum() > 5000
    return float(np.corrcoef(measured[measured > 0][far], expected[far])[0, 1])


def test_a_field_map_brings_tissue_back_to_its_place(tmp_path: Path) -> None:
    bids, work = tmp_path / "bids", tmp_path / "work"
    spec = CohortSpec(
        size="tiny", n_patients=1, n_controls=0, n_volumes=20, distortion=1.2, random_seed=5
    )
    write_cohort(bids, spec)
    arguments = ("-w", work, "--sloppy", "-p", "none", "--min-time", 0, "--min-df", 2)
    outs = {"with": tmp_path / "with", "without": tmp_path / "without"}
    done = call(bids, outs["with"], "participant", *arguments)
    assert done.status == 0, done.err
    done = call(bids, outs["without"], "participant", *arguments, "--ignore", "fieldmaps")
    assert done.status == 0, done.err
    assert walk(outs["with"]) == []
    told = read_json(outs["with"] / f"{FUNC}_desc-confounds_timeseries.json")
    assert told["DistortionCorrection"] == "phasediff"
    place = read_json(outs["with"] / f"{FUNC}_from-boldref_to-T1w_mode-image_xfm.json")
    assert "bids:raw:sub-RLS001/fmap/sub-RLS001_phasediff.nii.gz" in place["Sources"]
    assert place["LargestDistortionMm"] > 8
    page = (outs["with"] / "sub-RLS001.html").read_text(encoding="utf-8")
    assert "the phase difference of two gradient echoes" in page
    assert "desc-distortion_bold.svg" in page
    assert read_json(outs["without"] / f"{FUNC}_boldref.json")["DistortionCorrection"] is None
    assert "Susceptibility distortion was not corrected" in (
        outs["without"] / "sub-RLS001.html"
    ).read_text(encoding="utf-8")
    assert fit(outs["with"]) > fit(outs["without"]) + 0.2
