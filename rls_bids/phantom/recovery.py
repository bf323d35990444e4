"""Whether a group comparison of a synthetic cohort finds what was planted, where it was planted.

``python -m rls_bids.phantom.recovery BIDS_DIR OUTPUT_DIR [--mirrored]`` prints one line a planted
target and exits with 1 when one of them is not recovered. With ``--mirrored`` left and right of
the truth are exchanged: an analysis that is right must then fail.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from rls_bids.dataset.description import read_json
from rls_bids.dataset.naming import contrast_label, derivative, group_map
from rls_bids.numerics.spheres import sphere_mask

TARGET_RADIUS_MM = 6.0
N_RANDOM = 1000
PERCENTILE = 95.0
AWAY_MM = 25.0
GREY_MATTER = 0.5
MOST_OF = 0.8
STD = {"space": "MNI152NLin2009cAsym", "res": "2"}

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One planted target of one seed: mean t there, and the bound that random regions set.

    ``mean_t`` and ``bound`` are multiplied by the planted sign, so that larger is better.
    """

    network: str
    seed: str
    target: str
    sign: int
    mean_t: float
    bound: float

    @property
    def is_recovered(self) -> bool:
        """Whether the sign is the planted one and the target beats random grey matter."""
        return self.mean_t > 0 and self.mean_t > self.bound


def mirror_name(seed: str) -> str:
    """Return the seed of the other side; a midline seed is its own mirror image.

    Examples
    --------
    >>> mirror_name("thal_VPL_L"), mirror_name("DMN_PCC")
    ('thal_VPL_R', 'DMN_PCC')
    """
    other = {"_L": "_R", "_R": "_L"}
    return seed[:-2] + other[seed[-2:]] if seed[-2:] in other else seed


def check_recovery(
    bids_dir: Path, output_dir: Path, *, is_mirrored: bool = False, random_seed: int = 0
) -> tuple[Target, ...]:
    """Compare the mean t of each planted target with equally large random grey-matter regions.

    Parameters
    ----------
    bids_dir, output_dir : Path
        A synthetic cohort and its results, with the group model of the column ``group``.
    is_mirrored : bool
        Exchange left and right of the truth.

    Returns
    -------
    tuple of Target
        Networks without a planted difference (a null cohort has only those) are judged as if the
        sign were that of the default cohort: there, nothing should be found.
    """
    truth = read_json(bids_dir / "sourcedata" / "truth" / "truth.json")
    grey, affine = mean_grey_matter(bids_dir, output_dir)
    rng = np.random.default_rng(random_seed)
    flip = np.array([-1.0, 1.0, 1.0]) if is_mirrored else np.ones(3)
    found: list[Target] = []
    for effect in truth["effects"]:
        sign = planted_sign(effect)
        if not sign:
            continue
        regions = {name: truth["regions"][name] for name in effect["regions"]}
        centres = {name: flip * region["centre_mm"] for name, region in regions.items()}
        seed = regions[effect["seed"]]["seed"]
        path = output_dir / t_map_path(mirror_name(seed) if is_mirrored else seed)
        values = np.asarray(nib.Nifti1Image.from_filename(path).dataobj, dtype=np.float64)
        bound = random_bound(sign * values, grey, affine, list(centres.values()), rng)
        found += [
            Target(
                network=effect["network"],
                seed=effect["seed"],
                target=name,
                sign=sign,
                mean_t=sign * sphere_mean(values, affine, centre),
                bound=bound,
            )
            for name, centre in centres.items()
            if name != effect["seed"]
        ]
    return tuple(found)


def planted_sign(effect: dict[str, Any]) -> int:
    """Return the sign of RLS minus HC; in a null cohort, where the default cohort has one."""
    signs = {"thalamocortical_left": -1, "salience": 1, "default": -1}
    return int(effect["sign_of_RLS_minus_HC"]) or signs.get(effect["network"], 0)


def t_map_path(seed: str) -> str:
    """Return where the default analysis writes the t map of a seed."""
    return group_map(
        "group",
        "t",
        **STD,
        task="rest",
        denoise="acompcor",
        seed=seed,
        meas="fisherz",
        contrast=contrast_label("RLS", "HC"),
    )


def mean_grey_matter(bids_dir: Path, output_dir: Path) -> tuple[Floats, Floats]:
    """Return the participants' mean probability of grey matter on the standard grid."""
    labels = sorted(path.name.removeprefix("sub-") for path in bids_dir.glob("sub-*"))
    images = [
        nib.Nifti1Image.from_filename(
            output_dir / derivative("probseg", label, None, **STD, label="GM")
        )
        for label in labels
    ]
    return np.mean([image.get_fdata() for image in images], axis=0), images[0].affine


def sphere_mean(values: Floats, affine: Floats, centre: Sequence[float] | Floats) -> float:
    """Return the mean over the voxels of a sphere that have a value; NaN where most have none."""
    everywhere = np.ones(values.shape, dtype=bool)
    indices, n_region = sphere_mask(everywhere, affine, tuple(centre), TARGET_RADIUS_MM)
    inside = values.reshape(-1)[indices]
    inside = inside[inside != 0]
    return float(inside.mean()) if inside.size >= MOST_OF * n_region else float("nan")


def random_bound(
    values: Floats, grey: Floats, affine: Floats, away: Sequence[Floats], rng: np.random.Generator
) -> float:
    """Return the 95th percentile of the mean over random grey-matter spheres.

    They keep a distance from the planted regions of the network.
    """
    voxels = np.argwhere((grey > GREY_MATTER) & (values != 0))
    centres = voxels @ affine[:3, :3].T + affine[:3, 3]
    distances = [np.linalg.norm(centres - centre, axis=1) for centre in away]
    centres = centres[np.min(distances, axis=0) > AWAY_MM]
    chosen = rng.choice(len(centres), size=N_RANDOM)
    means = np.array([sphere_mean(values, affine, centres[index]) for index in chosen])
    return float(np.percentile(means[np.isfinite(means)], PERCENTILE))


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line a target; return 1 when one is not recovered."""
    parser = argparse.ArgumentParser(prog="python -m rls_bids.phantom.recovery")
    parser.add_argument("bids_dir", type=Path)
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("--mirrored", action="store_true", help="exchange left and right")
    asked = parser.parse_args(argv)
    targets = check_recovery(asked.bids_dir, asked.output_dir, is_mirrored=asked.mirrored)
    for each in targets:
        sys.stdout.write(
            f"{each.network}: seed {each.seed}, target {each.target}: "
            f"mean t {each.sign * each.mean_t:+.2f}, "
            f"{PERCENTILE:.0f} % of random regions below {each.sign * each.bound:+.2f}, "
            f"{'recovered' if each.is_recovered else 'NOT recovered'}\n"
        )
    return 0 if all(each.is_recovered for each in targets) else 1


if __name__ == "__main__":
    raise SystemExit(main())
