"""Templates against all assignments; group ICA on planted networks."""

import itertools
import re
from dataclasses import asdict
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rls_bids.interfaces.ica import VERSION, GroupICA
from rls_bids.interfaces.images import save_mask
from rls_bids.numerics import matching
from rls_bids.numerics.matching import match_maps, spatial_correlations
from rls_bids.numerics.resample import voxel_points
from rls_bids.resources.networkmaps import load_network_maps

SPACE = "MNI152NLin2009cAsym"
SHAPE = (16, 18, 15)
AFFINE = np.diag([-8.0, 8.0, 8.0, 1.0])
AFFINE[:3, 3] = 60, -70, -50


@settings(max_examples=30, deadline=None)
@given(n_c=st.integers(1, 4), n_t=st.integers(1, 4), number=st.integers(0, 999))
def test_the_assignment_is_the_best_of_all(n_c, n_t, number):
    rng = np.random.default_rng(number)
    components, templates = rng.standard_normal((n_c, 30)), rng.standard_normal((n_t, 30))
    found = match_maps(components, templates)
    r = np.corrcoef(components, templates)[:n_c, n_c:]
    assert np.allclose(found.correlations, r)
    k = min(n_c, n_t)
    best = max(
        sum(abs(r[c, t]) for c, t in zip(cs, ts, strict=True))
        for cs in itertools.combinations(range(n_c), k)
        for ts in itertools.permutations(range(n_t), k)
    )
    assert np.nansum(np.abs(found.r)) == pytest.approx(best)
    used = found.template[found.template >= 0]
    assert len(set(used)) == len(used) == k


def test_the_nearest_template_of_each_would_be_given_twice():
    templates = np.array([[1.0, 0, 0, 0, 0.1], [0, 1.0, 0, 0, 0]])
    components = np.array([[1.0, 0.9, 0, 0, 0], [1.0, 0, 0, 0, 0]])
    found = match_maps(components, templates)
    assert np.abs(found.correlations).argmax(axis=1).tolist() == [0, 0]
    assert found.template.tolist() == [1, 0]


def test_maps_without_spread_get_no_template():
    found = match_maps(np.ones((1, 6)), np.arange(6.0)[None])
    assert found.template.tolist() == [-1]
    assert np.isnan(found.r).all()
    message = matching.BAD_MAPS.format(one=(1, 6), other=(1, 5))
    with pytest.raises(ValueError, match=re.escape(message)):
        spatial_correlations(np.ones((1, 6)), np.ones((1, 5)))


def networks():
    points = voxel_points(np.ones(SHAPE, bool), AFFINE)
    centres = [(-40, -20, 30), (40, 30, 20), (0, -50, 10)]
    each = [np.exp(-(np.linalg.norm(points - c, axis=1) ** 2) / 300) for c in centres]
    return np.stack(each).reshape(3, *SHAPE)


def test_planted_networks_are_found_named_and_signed_and_found_again(tmp_path):
    mask = np.ones(SHAPE, bool)
    mask[:2], mask[:, :2] = False, False
    save_mask(mask, AFFINE, tmp_path / "mask.nii.gz")
    truth = networks()
    order = [2, 0]  # the third network has no template
    stack = np.moveaxis(truth[order], 0, -1).astype(np.float32)
    nib.save(nib.Nifti1Image(stack, AFFINE), tmp_path / f"rsn_space-{SPACE}.nii.gz")
    (tmp_path / f"rsn_space-{SPACE}.tsv").write_text("index\tname\n1\tback\n2\tleft\n")
    templates = load_network_maps(str(tmp_path / f"rsn_space-{SPACE}.nii.gz"))
    rng = np.random.default_rng(0)
    files = []
    for number in range(3):
        series = rng.standard_normal((60, 3))
        data = np.tensordot(series, truth, axes=1) + 0.3 * rng.standard_normal((60, *SHAPE))
        path = tmp_path / f"sub{number}.nii.gz"
        nib.save(nib.Nifti1Image(np.moveaxis(data, 0, -1).astype(np.float32), AFFINE), path)
        files.append(str(path))
    found = []
    for run in "ab":
        (tmp_path / run).mkdir()
        node = GroupICA(
            series=files,
            mask=str(tmp_path / "mask.nii.gz"),
            n_components=3,
            smoothing_fwhm_mm=0.0,
            templates=[asdict(each) for each in templates],
            space=SPACE,
            version=VERSION,
        )
        found.append(node.run(cwd=str(tmp_path / run)).outputs)
    image = nib.load(found[0].components).get_fdata()
    assert np.array_equal(image, nib.load(found[1].components).get_fdata())
    assert not image[~mask].any()
    lines = Path(found[0].table).read_text().splitlines()
    header, *rows = [line.split("\t") for line in lines]
    assert header == ["index", "name", "template", "spatial_correlation"]
    by_name = {row[1]: row for row in rows}
    for name, one in (("back", 2), ("left", 0)):
        row = next(row for key, row in by_name.items() if key.endswith(name))
        own = image[..., int(row[0]) - 1][mask]
        r, *others = np.corrcoef([own, *np.roll(truth, -one, axis=0)[:, mask]])[0, 1:]
        assert r > 0.7, "voxels are standardised, which flattens networks"
        assert np.abs(others).max() < 0.25
        assert float(row[3]) == pytest.approx(r, abs=1e-3)
    (other,) = [row for row in rows if row[2] == "n/a"]
    assert other[1].startswith("IC")
    assert np.corrcoef(image[..., int(other[0]) - 1][mask], truth[1][mask])[0, 1] > 0.7


def test_components_can_be_given_to_dual_regression(tmp_path):
    """The table beside the components has what network maps need."""
    stack = np.moveaxis(networks(), 0, -1).astype(np.float32)
    nib.save(nib.Nifti1Image(stack, AFFINE), tmp_path / "components.nii.gz")
    text = "index\tname\ttemplate\tspatial_correlation\n1\tDMN\tDMN\t0.9\n2\tIC2\tn/a\tn/a\n"
    (tmp_path / "components.tsv").write_text(text + "3\tIC3\tn/a\tn/a\n")
    names = [each.name for each in load_network_maps(str(tmp_path / "components.nii.gz"))]
    assert names == ["components_DMN", "components_IC2", "components_IC3"]
