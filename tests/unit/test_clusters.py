"""Clusters and maxima: planted places, nilearn as oracle, and the time a noisy map takes."""

import time

import nibabel as nib
import numpy as np
from nilearn.reporting import get_clusters_table
from scipy.ndimage import gaussian_filter

from rls_bids.numerics.clusters import local_maxima

SIZES = (2.0, 2.0, 3.0)


def blobs() -> np.ndarray:
    """Two positive blobs (one with a second maximum 12 mm away) and a negative one."""
    values = np.zeros((40, 30, 20))
    for place, height in (((8, 8, 8), 9), ((14, 8, 8), 8), ((30, 20, 10), 5), ((8, 22, 12), -7)):
        one = np.zeros(values.shape)
        one[place] = height
        values += gaussian_filter(one, 2.0) * (2 * np.pi) ** 1.5 * 2.0**3
    return values


def test_planted_places() -> None:
    found = local_maxima(blobs(), 3.0, SIZES)
    assert [(one.name, one.voxel) for one in found] == [
        ("1", (8, 8, 8)),
        ("1a", (14, 8, 8)),
        ("2", (8, 22, 12)),
        ("3", (30, 20, 10)),
    ]
    assert len(local_maxima(blobs(), 3.0, SIZES, min_distance_mm=13)) == 3


def test_nilearn_finds_the_same() -> None:
    values = blobs()
    image = nib.Nifti1Image(values, np.diag([*SIZES, 1.0]))
    oracle = get_clusters_table(image, 3.0, two_sided=True)
    ours = {one.voxel: values[one.voxel] for one in local_maxima(values, 3.0, SIZES)}
    places = oracle[["X", "Y", "Z"]].to_numpy(float) / SIZES
    voxels = [tuple(place.astype(int)) for place in places]
    assert ours == dict(zip(voxels, oracle["Peak Stat"], strict=True))
    sizes = sorted({one.n_voxels * np.prod(SIZES) for one in local_maxima(values, 3.0, SIZES)})
    assert sizes == sorted(float(size) for size in oracle["Cluster Size (mm3)"] if size)


def test_nothing_above_the_threshold() -> None:
    assert local_maxima(np.zeros((3, 3, 3)), 3.0, SIZES) == []


def test_a_noisy_map_is_quick(rng: np.random.Generator) -> None:
    values = gaussian_filter(rng.normal(size=(97, 115, 97)), 1.2)
    start = time.monotonic()
    found = local_maxima(values / values.std(), 3.29, (2.0, 2.0, 2.0))
    assert len(found) > 300
    assert time.monotonic() - start < 5
