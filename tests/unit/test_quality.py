"""Quality numbers: overlaps, regions of RLS findings, and what a run says of itself."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from rls_bids.dataset.description import read_json, write_json
from rls_bids.interfaces.quality import MeasureQuality, cut_off
from rls_bids.numerics.quality import coverage, dice, rls_regions
from rls_bids.reports.quality import quality_notes, quality_table
from rls_bids.resources.grids import standard_head
from rls_bids.resources.templates import locate_template
from tests.factories import write_nifti

SPACE = "MNI152NLin2009cAsym"
SPHERE = {"kind": "sphere", "radius_mm": 6.0}
SEEDS = [
    {"name": "in", "network": "one", "centre_mm": [0, 0, 20], **SPHERE},
    {"name": "out", "network": "one", "centre_mm": [0, 0, -90], **SPHERE},
    {"name": "both", "network": "one", "kind": "mean", "members": ["in", "out"]},
    {"name": "low", "network": "two", "centre_mm": [0, -60, -40], **SPHERE},
]


@pytest.fixture(scope="module")
def standard():
    template = locate_template(SPACE, "2")
    return template, *standard_head(template.brain, SPACE, "2")


def test_overlap_and_coverage_of_nothing_are_not_numbers():
    nothing = np.zeros(4, bool)
    assert np.isnan(dice(nothing, nothing))
    assert np.isnan(coverage(nothing, nothing))
    assert dice(~nothing, nothing) == 0


def test_the_regions_of_rls_findings_are_where_their_names_say(standard):
    _, _, brain, affine = standard
    regions = rls_regions(brain, affine)
    centre = {
        name: nib.affines.apply_affine(affine, np.argwhere(region).mean(axis=0))
        for name, region in regions.items()
    }
    assert abs(centre["vertex"][0]) < 3
    assert centre["vertex"][2] > 60
    assert regions["vertex"][tuple(voxel(affine, (6, -24, 72)))]  # leg area of M1
    assert centre["cerebellum"][1] < -60
    assert centre["cerebellum"][2] < -30
    assert regions["cerebellum"][tuple(voxel(affine, (-24, -66, -36)))]
    for region in regions.values():
        assert 3000 < region.sum() < 20000


def voxel(affine, point):
    return np.rint(nib.affines.apply_affine(np.linalg.inv(affine), point)).astype(int)


def measured(folder, standard, *, lowest_mm, **extra):
    """The table of a run whose field of view begins at a height."""
    template, _, brain, affine = standard
    height = nib.affines.apply_affine(affine, np.argwhere(brain))[:, 2]
    seen = brain.copy()
    seen[brain] = height > lowest_mm
    n_volumes = 40
    fd = np.full(n_volumes, 0.1)
    fd[[0, 20]] = np.nan, 2.0
    pd.DataFrame({"framewise_displacement": fd}).to_csv(
        folder / "c.tsv", sep="\t", na_rep="n/a", index=False
    )
    np.save(folder / "tsnr.npy", np.where(np.arange(seen.sum()) % 3, 50.0, 80.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        outputs = (
            MeasureQuality(
                mask=str(write_nifti(folder / "m.nii.gz", seen.astype("u1"), affine=affine)),
                tsnr=str(folder / "tsnr.npy"),
                confounds=str(folder / "c.tsv"),
                template=template.brain,
                space=SPACE,
                resolution="2",
                repetition_time=3.0,
                fd_threshold_mm=0.5,
                seeds=SEEDS,
                version="1",
                **extra,
            )
            .run()
            .outputs
        )
    table = pd.read_csv(outputs.table, sep="\t")
    return table.iloc[0], read_json(outputs.metadata), outputs


def test_a_whole_head_is_covered_and_its_numbers_are_right(standard, tmp_path):
    _, _, brain, affine = standard
    write_json(
        tmp_path / "told.json",
        {
            "CoregistrationCost": -1.2,
            "BoundaryCost": 0.4,
            "BoundaryWrongShare": 0.1,
            "MaskDice": 0.9,
        },
    )
    other = np.roll(brain, 1, axis=0).astype("u1")
    row, told, _ = measured(
        tmp_path,
        standard,
        lowest_mm=-200,
        coregistration=str(tmp_path / "told.json"),
        brain_std=str(write_nifti(tmp_path / "b.nii.gz", other, affine=affine)),
    )
    assert row["coverage_brain"] == 1
    assert row["coverage_vertex"] == 1
    assert row["mean_fd"] == pytest.approx((38 * 0.1 + 2) / 39, rel=1e-4)
    assert row["max_fd"] == 2
    minutes = np.r_[1:40] * 3 / 60
    jumps = np.where(np.r_[1:40] == 20, 2.0, 0.1)
    assert row["fd_slope"] == pytest.approx(stats.linregress(minutes, jumps).slope, rel=1e-4)
    assert row["minutes_kept"] == pytest.approx(39 * 3 / 60)
    assert row["percent_censored"] == pytest.approx(2.5)
    assert row["median_tsnr"] == 50
    assert row["dice_normalisation"] == pytest.approx(dice(brain, other > 0), rel=1e-4)
    assert row["dice_bold_t1w"] == 0.9
    assert row["coregistration_cost"] == -1.2
    assert row["coverage_one"] == pytest.approx(0.5)
    assert np.isnan(row["mean_distortion"])
    assert told["CutOff"] == []
    assert told["mean_fd"]["Units"] == "mm"
    assert set(row.index) == set(told) - {"CutOff"}


def test_a_cerebellum_that_is_cut_off_is_told_loudly(standard, tmp_path):
    row, told, outputs = measured(tmp_path, standard, lowest_mm=-35)
    assert row["coverage_cerebellum"] < 0.6
    assert row["coverage_vertex"] == 1
    assert row["coverage_two"] < 0.5
    assert len(told["CutOff"]) == 1
    assert "posterior cerebellum" in told["CutOff"][0]
    notes = quality_notes(
        "01", "A", (("run", "1"), ("task", "rest")), told, {"BoundaryFault": "x"}
    )
    assert [note.level for note in notes] == ["warning", "warning"]
    assert "posterior cerebellum" in notes[0].message
    assert "went astray (x)" in notes[1].message
    table = quality_table(tmp_path, outputs.table, told)
    assert ("Mean framewise displacement", "0.14872", "mm") in table.rows
    assert quality_table(tmp_path, "absent.tsv", told) is None


def test_what_is_covered_is_not_mentioned():
    assert cut_off({"coverage_vertex": 0.95, "coverage_cerebellum": 0.9}) == []
