"""Derive the stored grey matter of MNI152NLin2009cAsym.

``python -m benchmarks.tissue`` segments the template's brain (1 mm) as a participant's, averages
the probability of grey matter to the 2 mm grid, and compares it with what is stored; ``--write``
replaces it in ``rls_bids/resources``.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from rls_bids.interfaces.anat import VERSION, SegmentTissue
from rls_bids.interfaces.images import load_volume, save_mask
from rls_bids.resources.grids import box_average, standard_grid
from rls_bids.resources.templates import BUILT_IN_SPACE, locate_template
from rls_bids.resources.tissue import GREY, GREY_MATTER, SCALE, load_grey_matter


def derive() -> np.ndarray:
    """Return the probability of grey matter on the 2 mm grid as bytes of 1/200."""
    template = locate_template(BUILT_IN_SPACE, "1")
    brain = load_volume(template.brain)
    shape, affine = standard_grid(BUILT_IN_SPACE, "2")
    with tempfile.TemporaryDirectory() as folder:
        mask = save_mask(brain.data > 0, brain.affine, Path(folder) / "mask.nii.gz")
        node = SegmentTissue(in_file=template.brain, mask=mask, version=VERSION)
        grey = load_volume(node.run(cwd=folder).outputs.GM)
    return np.rint(box_average(grey.data, grey.affine, shape, affine) * SCALE).astype(np.uint8)


def main() -> None:
    """Derive, compare, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="replace what is stored")
    found = derive()
    volume = 8e-3 * (found > GREY_MATTER * SCALE).sum()
    print(f"grey matter above {GREY_MATTER}: {volume:.0f} ml")
    if parser.parse_args().write:
        _, affine = standard_grid(BUILT_IN_SPACE, "2")
        np.savez_compressed(GREY, grey=found, affine=affine)
    stored, _ = load_grey_matter()
    print(f"largest difference to what is stored: {abs(stored - found / SCALE).max():.3f}")


if __name__ == "__main__":
    main()
