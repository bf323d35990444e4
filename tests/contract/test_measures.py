"""What every measure promises, over the whole table."""

import re

import numpy as np
import pytest
from scipy import ndimage

from rls_bids.measures import MEASURES
from rls_bids.measures.seed import compute
from rls_bids.numerics.local import LocalRun
from rls_bids.numerics.seedmaps import Grid, RunSeries
from rls_bids.records import Seed
from rls_bids.settings import MeasureSettings

SHAPE = (9, 10, 11)
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
SEED = Seed(name="s", network="n", kind="sphere", centre_mm=(12.0, 12.0, 15.0), radius_mm=6.0)


def seed_maps(data, mask):
    """Compute the measure ``seed`` from one series: (n_stats, n_voxels)."""
    run = RunSeries(
        unsmoothed=data,
        smoothed=data,
        mask=mask,
        tsnr=np.full(data.shape[1], 50.0),
        residual_df=len(data) - 2,
    )
    result = compute([SEED], [run], Grid(mask=mask, affine=AFFINE))["s"]
    return np.stack([result.r, result.z])


def local_maps(name):
    """Return a function like :func:`seed_maps` for a local measure."""
    measure = MEASURES[name]
    chosen = MeasureSettings()
    options = {option: getattr(chosen, option) for option in measure.options}

    def compute_maps(data, mask):
        run = LocalRun(
            filtered=data,
            unfiltered=data,
            sample_mask=np.ones(len(data), bool),
            mask=mask,
            counted=np.ones(data.shape[1], bool),
            repetition_time=2.0,
        )
        maps = measure.compute(run, options)
        return np.stack([maps[stat.name] for stat in measure.stats])

    return compute_maps


LOCAL = sorted(name for name, measure in MEASURES.items() if measure.kind == "local")
# One function a measure: (n_volumes, n_voxels), mask -> one row a stat, in the record's order.
COMPUTE = {"seed": seed_maps, **{name: local_maps(name) for name in LOCAL}}
# Tables of parcels: test_matrices.py, test_graph_nodes.py. Of networks, whose series all voxels
# of a volume tell: test_dualregression.py. Of all participants together: test_ica.py.
ELSEWHERE = {"matrices", "graphs", "dualregression", "ica"}


@pytest.fixture(params=sorted(COMPUTE))
def measure(request):
    return MEASURES[request.param]


@pytest.fixture
def mask():
    return np.random.default_rng(0).random(SHAPE) > 0.15


@pytest.fixture
def data(mask):
    rng = np.random.default_rng(1)
    return (100 + rng.standard_normal((80, int(mask.sum())))).astype(np.float32)


def test_every_measure_is_tested_here():
    assert set(COMPUTE) | ELSEWHERE == set(MEASURES)


def test_the_record_is_complete(measure):
    assert MEASURES[measure.name] is measure
    assert measure.version
    assert measure.caption.endswith(".")
    assert measure.method.endswith(".")
    assert any(stat.is_compared for stat in measure.stats)
    assert all(stat.caption.endswith(".") and stat.unit for stat in measure.stats)
    assert all(re.fullmatch(r"10\.\d{4,}/\S+", source) for source in measure.sources)
    assert measure.sources
    assert all(
        re.fullmatch(r"[a-z]+", word)
        for word in (measure.name, *(stat.name for stat in measure.stats))
    )


def test_one_finite_row_a_stat(measure, data, mask):
    found = COMPUTE[measure.name](data, mask)
    assert found.shape == (len(measure.stats), data.shape[1])
    assert np.isfinite(found[:, interior(mask)]).all()


def interior(mask):
    """Voxels of the mask with at least 14 of 27 neighbours in it: those that every measure has."""
    near = ndimage.convolve(mask.astype(int), np.ones((3, 3, 3), int), mode="constant")
    return (near >= 14)[mask]


def test_input_is_untouched_and_the_result_repeats(measure, data, mask):
    before = data.copy()
    first = COMPUTE[measure.name](data, mask)
    assert np.array_equal(data, before)
    assert np.array_equal(first, COMPUTE[measure.name](data, mask), equal_nan=True)


def test_read_only_input_will_do(measure, data, mask):
    data.flags.writeable = False
    COMPUTE[measure.name](data, mask)


def test_centrality_goes_with_its_voxel(data, mask):
    """Every voxel counts all others: whatever their order, each keeps its own number."""
    order = np.random.default_rng(5).permutation(data.shape[1])
    found = COMPUTE["centrality"](data[:, order], mask)
    assert np.allclose(found, COMPUTE["centrality"](data, mask)[:, order], atol=1e-4)


@pytest.mark.parametrize("name", sorted(set(COMPUTE) - {"centrality"}))
def test_voxels_keep_their_order(name, data, mask):
    """Taking voxels away, far from the seed, changes nothing at the others."""
    measure = MEASURES[name]
    whole = np.zeros((len(measure.stats), *SHAPE))
    whole[:, mask] = COMPUTE[measure.name](data, mask)
    smaller = mask.copy()
    smaller[-1], smaller[:, -1] = False, False
    part = COMPUTE[measure.name](data[:, smaller[mask]], smaller)
    far = np.ones(SHAPE, bool)
    far[-2:], far[:, -2:] = False, False  # their neighbours are all there
    inside = far[smaller]
    assert np.allclose(part[:, inside], whole[:, smaller][:, inside], atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("name", ["seed", "reho", "centrality"])
def test_shift_and_scale_do_not_matter_to_correlations(name, data, mask):
    found = COMPUTE[name](40 * data.astype(np.float64) - 7, mask)
    assert np.allclose(found, COMPUTE[name](data, mask), atol=1e-5, equal_nan=True)


def test_amplitudes_follow_the_scale(data, mask):
    alff, falff = COMPUTE["alff"](data, mask)
    scaled, same = COMPUTE["alff"](40 * data.astype(np.float64) - 7, mask)
    assert np.allclose(scaled, 40 * alff, rtol=1e-5)
    assert np.allclose(same, falff, rtol=1e-5)
