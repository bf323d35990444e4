"""Templates against all assignments; group ICA on planted networks; what is drawn of it."""

import itertools
import re
import warnings
from dataclasses import asdict

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rls_bids.errors import InputDataError
from rls_bids.interfaces import ica
from rls_bids.interfaces.ica import CommonMask, GroupICA
from rls_bids.interfaces.images import load_mask, save_mask
from rls_bids.interfaces.manifest import load_manifest
from rls_bids.interfaces.tables import load_rows
from rls_bids.measures.ica import LEAST_R
from rls_bids.numerics import matching
from rls_bids.numerics.matching import match_maps, orient, spatial_correlations
from rls_bids.numerics.resample import voxel_points
from rls_bids.resources.networkmaps import load_network_maps

SPACE = "MNI152NLin2009cAsym"
SHAPE = (16, 18, 15)
AFFINE = np.diag([-8.0, 8.0, 8.0, 1.0])
AFFINE[:3, 3] = 60, -70, -50
CENTRES = [(-40, -20, 30), (40, 30, 20), (0, -50, 10)]


@settings(max_examples=30, deadline=None)
@given(n_c=st.integers(1, 4), n_t=st.integers(1, 4), number=st.integers(0, 999))
def test_the_assignment_is_the_best_of_all(n_c, n_t, number):
    rng = np.random.default_rng(number)
    components, templates = rng.standard_normal((n_c, 30)), rng.standard_normal((n_t, 30))
    r = np.corrcoef(components, templates)[:n_c, n_c:]
    k = min(n_c, n_t)
    for least in (0.0, 0.15):
        found = match_maps(components, templates, least)
        assert np.allclose(found.correlations, r)
        counted = np.where(np.abs(r) >= least, np.abs(r), 0.0)
        best = max(
            sum(counted[c, t] for c, t in zip(cs, ts, strict=True))
            for cs in itertools.combinations(range(n_c), k)
            for ts in itertools.permutations(range(n_t), k)
        )
        assert np.nansum(np.abs(found.r)) == pytest.approx(best)
        used = found.template[found.template >= 0]
        assert len(set(used)) == len(used) <= k
        assert (np.abs(found.r[found.template >= 0]) >= least).all()
        assert np.isnan(found.r[found.template < 0]).all()


def test_the_nearest_template_of_each_would_be_given_twice():
    templates = np.array([[1.0, 0, 0, 0, 0.1], [0, 1.0, 0, 0, 0]])
    components = np.array([[1.0, 0.9, 0, 0, 0], [1.0, 0, 0, 0, 0]])
    found = match_maps(components, templates)
    assert np.abs(found.correlations).argmax(axis=1).tolist() == [0, 0]
    assert found.template.tolist() == [1, 0]


def test_a_poor_pair_does_not_take_a_template_from_a_good_one():
    """Without the least correlation both would be given, the good one to its second best."""
    r = np.array([[0.5, 0.45], [0.2, 0.1]])
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((40, 5)))[0]
    basis = np.linalg.qr(basis - basis.mean(axis=0))[0].T
    templates = basis[:2]
    own = np.sqrt(1 - (r**2).sum(axis=1))
    components = r @ templates + own[:, None] * basis[2:4]
    assert np.allclose(spatial_correlations(components, templates), r)
    assert match_maps(components, templates).template.tolist() == [1, 0]
    assert match_maps(components, templates, 0.25).template.tolist() == [0, -1]


def test_maps_without_spread_get_no_template():
    found = match_maps(np.ones((1, 6)), np.arange(6.0)[None])
    assert found.template.tolist() == [-1]
    assert np.isnan(found.r).all()
    assert orient(np.ones((1, 6)), found)[0].tolist() == [[0.0] * 6]
    message = matching.BAD_MAPS.format(one=(1, 6), other=(1, 5))
    with pytest.raises(ValueError, match=re.escape(message)):
        spatial_correlations(np.ones((1, 6)), np.ones((1, 5)))


def test_components_are_turned_and_given_as_z():
    rng = np.random.default_rng(3)
    components = rng.gamma(1.0, size=(4, 200)) * np.array([[1.0], [-1.0], [2.0], [-3.0]]) + 5
    before = components.copy()
    templates = np.stack([-components[0], components[1]]) + 0.1 * rng.standard_normal((2, 200))
    found = match_maps(components, templates, 0.5)
    z, sign = orient(components, found)
    assert np.array_equal(components, before)
    assert found.template.tolist() == [0, 1, -1, -1]
    assert sign.tolist() == [-1, 1, 1, -1]
    assert np.allclose(z, sign[:, None] * stats.zscore(components, axis=1))
    assert (np.diag(spatial_correlations(z[:2], templates)) > 0.9).all()
    assert (stats.skew(z[2:], axis=1) > 0).all()


def networks():
    points = voxel_points(np.ones(SHAPE, bool), AFFINE)
    each = [np.exp(-(np.linalg.norm(points - c, axis=1) ** 2) / 300) for c in CENTRES]
    return np.stack(each).reshape(3, *SHAPE)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Three series of three networks, and the templates of two of them, one upside down."""
    folder = tmp_path_factory.mktemp("ica")
    mask = np.ones(SHAPE, bool)
    mask[:2], mask[:, :2] = False, False
    truth = networks()
    stack = np.moveaxis(truth[[2, 0]] * np.array([-1, 1])[:, None, None, None], 0, -1)
    nib.save(
        nib.Nifti1Image(stack.astype(np.float32), AFFINE), folder / f"rsn_space-{SPACE}.nii.gz"
    )
    (folder / f"rsn_space-{SPACE}.tsv").write_text("index\tname\n1\tback\n2\tleft\n")
    rng = np.random.default_rng(0)
    files = []
    for number in range(3):
        series = rng.standard_normal((60, 3))
        data = np.tensordot(series, truth, axes=1) + 0.3 * rng.standard_normal((60, *SHAPE))
        data[:, ~mask] = 0
        path = folder / f"sub{number}.nii.gz"
        nib.save(nib.Nifti1Image(np.moveaxis(data, 0, -1).astype(np.float32), AFFINE), path)
        files.append(str(path))
    save_mask(mask, AFFINE, folder / "mask.nii.gz")
    return folder, files, mask


def decompose(folder, files, cwd, **changed):
    templates = load_network_maps(str(folder / f"rsn_space-{SPACE}.nii.gz"))
    inputs = {
        "series": files,
        "mask": str(folder / "mask.nii.gz"),
        "n_components": 3,
        "smoothing_fwhm_mm": 0.0,
        "random_seed": 0,
        "templates": [asdict(each) for each in templates],
        "space": SPACE,
        "version": "1",
    }
    cwd.mkdir()
    done = GroupICA(**(inputs | changed)).run(cwd=str(cwd))
    return {entry["key"]: entry for entry in load_manifest(done.outputs.manifest)}


def test_planted_networks_are_found_named_and_signed_and_found_again(planted, tmp_path):
    folder, files, mask = planted
    truth = networks()
    found = [decompose(folder, files, tmp_path / run) for run in "ab"]
    images = [nib.load(each["components"]["file"]).get_fdata() for each in found]
    image = images[0]
    assert np.array_equal(image, images[1])
    assert not image[~mask].any()
    assert np.allclose(image[mask].mean(axis=0), 0, atol=1e-5)
    assert np.allclose(image[mask].std(axis=0), 1, atol=1e-5)
    assert found[0]["components"]["metadata"] == {
        "NumberOfVoxels": int(mask.sum()),
        "NumberMatched": 2,
        "StartsNotConverged": 0,
        "Starts": ica.N_STARTS,
    }
    rows = load_rows(found[0]["components_table"]["file"])
    assert list(rows[0]) == list(ica.COLUMNS)
    by_name = {row["name"]: row for row in rows}
    for name, one, sign in (("back", 2, -1), ("left", 0, 1)):
        row = by_name[name]
        own = image[..., int(row["index"]) - 1]
        r, *others = np.corrcoef([own[mask], *np.roll(truth, -one, axis=0)[:, mask]])[0, 1:]
        assert sign * r > 0.7, "voxels are standardised, which flattens networks"
        assert np.abs(others).max() < 0.25
        assert row["template"] == f"rsn_{name}" == row["nearest_template"]
        assert float(row["spatial_correlation"]) == pytest.approx(abs(r), abs=1e-3)
        peak = np.unravel_index((sign * own).argmax(), SHAPE)
        place = nib.affines.apply_affine(AFFINE, peak)
        assert np.abs(place - CENTRES[one]).max() <= 8.0  # left stays left
    (other,) = [row for row in rows if row["template"] == "n/a"]
    assert other["name"] == f"IC{other['index']}"
    assert other["spatial_correlation"] == "n/a"
    assert abs(float(other["nearest_correlation"])) < LEAST_R
    own = image[..., int(other["index"]) - 1][mask]
    assert np.corrcoef(own, truth[1][mask])[0, 1] > 0.7


def test_a_start_that_does_not_settle_is_told(planted, tmp_path, monkeypatch):
    """Other warnings go on to whoever listens."""
    from nilearn.decomposition import CanICA

    folder, files, _ = planted
    fit = CanICA.fit

    class ConvergenceWarning(UserWarning):
        pass

    def fit_with_warnings(self, *given, **named):
        warnings.warn("FastICA did not converge", ConvergenceWarning, stacklevel=1)
        warnings.warn("something else", RuntimeWarning, stacklevel=1)
        return fit(self, *given, **named)

    monkeypatch.setattr(CanICA, "fit", fit_with_warnings)
    with pytest.warns(RuntimeWarning, match="something else"):
        found = decompose(folder, files, tmp_path / "a")
    assert found["components"]["metadata"]["StartsNotConverged"] == 1


def test_names_stay_different_when_templates_are_components_themselves():
    correlations = np.array([[0.1, 0.9], [0.2, 0.1]])
    found = matching.Matching(
        template=np.array([1, -1]), r=np.array([0.9, np.nan]), correlations=correlations
    )
    table = ica._table(found, np.ones(2), ["ICA2_DMN", "ICA2_ic2"], ["DMN", "ic2"])
    assert table["name"].tolist() == ["ICA2_ic2", "IC2"]
    assert table["nearest_template"].tolist() == ["ICA2_ic2", "ICA2_DMN"]
    assert table["nearest_correlation"].tolist() == ["0.9000", "0.2000"]


def write_series(path, data, affine=AFFINE):
    nib.save(nib.Nifti1Image(data.astype(np.float32), affine), path)
    return str(path)


def test_the_common_voxels_vary_in_every_series(tmp_path):
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 3, 4, 5, 6))
    first[0, 0, 0] = 0  # outside
    second[1, 2, 3] = 7.0  # constant
    paths = [
        write_series(tmp_path / f"{n}.nii.gz", each) for n, each in enumerate((first, second))
    ]
    done = CommonMask(series=paths, version="1").run(cwd=str(tmp_path))
    mask, affine = load_mask(done.outputs.mask)
    expected = np.ones((3, 4, 5), bool)
    expected[0, 0, 0] = expected[1, 2, 3] = False
    assert np.array_equal(mask, expected)
    assert np.allclose(affine, AFFINE)


def test_series_that_share_no_grid_or_voxel_are_refused(tmp_path):
    data = np.random.default_rng(0).standard_normal((3, 4, 5, 6))
    halves = [data.copy(), data.copy()]
    halves[0][:2], halves[1][2:] = 0, 0
    a, b = (write_series(tmp_path / f"{n}.nii.gz", each) for n, each in enumerate(halves))
    moved = write_series(tmp_path / "moved.nii.gz", data, AFFINE + np.eye(4)[:, [3, 0, 1, 2]])
    message = ica.NOTHING_SHARED.format(n=2, first=a)
    with pytest.raises(InputDataError, match=re.escape(message)):
        CommonMask(series=[a, b], version="1").run(cwd=str(tmp_path))
    message = ica.OTHER_GRID.format(path=moved, first=a)
    with pytest.raises(InputDataError, match=re.escape(message)):
        CommonMask(series=[a, moved], version="1").run(cwd=str(tmp_path))


def test_pictures_say_which_template_or_that_there_is_none():
    row = {
        "template": "n/a",
        "spatial_correlation": "n/a",
        "nearest_template": "Visual",
        "nearest_correlation": "-0.2317",
    }
    assert ica._words(row) == "no template; nearest Visual, r = −0.23"
    row |= {"template": "Salience", "spatial_correlation": "0.4178"}
    assert ica._words(row) == "template Salience, r = 0.42"
