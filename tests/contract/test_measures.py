"""What every measure promises, over the whole table."""

import re

import numpy as np
import pytest

from rls_bids.measures import MEASURES
from rls_bids.measures.seed import Grid, RunSeries, compute
from rls_bids.records import Seed

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


# One function a measure: (n_volumes, n_voxels), mask -> one row a stat, in the record's order.
COMPUTE = {"seed": seed_maps}


@pytest.fixture(params=sorted(MEASURES))
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
    assert set(COMPUTE) == set(MEASURES)


def test_the_record_is_complete(measure):
    assert MEASURES[measure.name] is measure
    assert measure.version
    assert measure.caption.endswith(".")
    assert measure.method.endswith(".")
    assert measure.group_stat in measure.stats
    assert all(re.fullmatch(r"10\.\d{4,}/\S+", source) for source in measure.sources)
    assert measure.sources
    assert all(re.fullmatch(r"[a-z]+", word) for word in (measure.name, *measure.stats))


def test_one_finite_row_a_stat(measure, data, mask):
    found = COMPUTE[measure.name](data, mask)
    assert found.shape == (len(measure.stats), data.shape[1])
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


def test_input_is_untouched_and_the_result_repeats(measure, data, mask):
    before = data.copy()
    first = COMPUTE[measure.name](data, mask)
    assert np.array_equal(data, before)
    assert np.array_equal(first, COMPUTE[measure.name](data, mask))


def test_read_only_input_will_do(measure, data, mask):
    data.flags.writeable = False
    COMPUTE[measure.name](data, mask)


def test_voxels_keep_their_order(measure, data, mask):
    """Taking voxels away, far from the seed, changes nothing at the others."""
    whole = np.zeros((len(MEASURES[measure.name].stats), *SHAPE), dtype=np.float32)
    whole[:, mask] = COMPUTE[measure.name](data, mask)
    smaller = mask.copy()
    smaller[-1], smaller[:, -1] = False, False
    part = COMPUTE[measure.name](data[:, smaller[mask]], smaller)
    assert np.allclose(part, whole[:, smaller], atol=1e-6)


def test_shift_and_scale_do_not_matter_to_correlations(measure, data, mask):
    if measure.group_stat != "fisherz":
        pytest.skip("a law of correlations")
    scaled = 40 * data.astype(np.float64) - 7
    found = COMPUTE[measure.name](scaled, mask)
    assert np.allclose(found, COMPUTE[measure.name](data, mask), atol=1e-5)
