"""A head with skull and scalp: the app finds the brain by itself."""

import platform
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from rls_bids.dataset.description import read_json
from rls_bids.phantom.dataset import write_cohort
from rls_bids.phantom.spec import CohortSpec
from tests.e2e.conftest import call

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="ROBEX is an x86-64 program"),
]


def test_the_planted_brain_is_found(tmp_path: Path) -> None:
    bids, out = tmp_path / "bids", tmp_path / "out"
    spec = CohortSpec(
        size="tiny", n_patients=1, n_controls=0, skull=True, n_volumes=10, random_seed=3
    )
    write_cohort(bids, spec)
    done = call(bids, out, "participant", "-w", tmp_path / "work", "--anat-only", "--sloppy")
    assert done.status == 0, done.err
    mask_file = out / "sub-RLS001/anat/sub-RLS001_desc-brain_mask.nii.gz"
    mask = nib.load(mask_file).get_fdata() > 0
    truth = next((bids / "sourcedata/truth/sub-RLS001").rglob("tissues_dseg.nii.gz"))
    brain = nib.load(truth).get_fdata() > 0
    assert nib.load(truth).shape == nib.load(mask_file).shape
    dice = 2 * np.count_nonzero(mask & brain) / (mask.sum() + brain.sum())
    assert dice > 0.92
    about = read_json(out / "sub-RLS001/anat/sub-RLS001_desc-preproc_T1w.json")
    assert about["SkullStripped"] is False
