"""A distorted head with a field map, from raw data to standard space, with and without it."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from rls_bids.dataset.description import read_json
from rls_bids.dataset.walk import walk
from rls_bids.phantom.dataset import write_cohort
from rls_bids.phantom.head import EPI_TISSUES
from rls_bids.phantom.spec import CohortSpec
from tests.e2e.conftest import call

pytestmark = pytest.mark.e2e

STD = "space-MNI152NLin2009cAsym_res-2"
FUNC = "sub-RLS001/func/sub-RLS001_task-rest"
ANAT = f"sub-RLS001/anat/sub-RLS001_{STD}"
LOWEST_MM = -25.0


def fit(out: Path) -> float:
    """Correlation of the BOLD reference in standard space with what the tissues there promise.

    Only low and far in front or to the side, where the planted field is strong.
    """
    image = nib.load(out / f"{FUNC}_{STD}_boldref.nii.gz")
    measured = image.get_fdata()
    tissues = [
        nib.load(out / f"{ANAT}_label-{name}_probseg.nii.gz").get_fdata()
        for name in ("GM", "WM", "CSF")
    ]
    expected = sum(s * t for s, t in zip(EPI_TISSUES, tissues, strict=True))
    index = np.moveaxis(np.indices(measured.shape), 0, -1)
    x, y, z = np.moveaxis(nib.affines.apply_affine(image.affine, index), -1, 0)
    field = (z < 0) & (z > LOWEST_MM) & ((y > 30) | (np.abs(x) > 40))
    inside = field & (measured > 0) & (sum(tissues) > 0.5)
    assert inside.sum() > 3000
    return float(np.corrcoef(measured[inside], expected[inside])[0, 1])


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
    assert fit(outs["with"]) > fit(outs["without"]) + 0.1
