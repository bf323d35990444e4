"""Phrases of the methods section by what was done; ``[@key]`` cites ``boilerplate.bib``."""

from collections.abc import Mapping
from types import MappingProxyType

STRATEGIES: Mapping[str, str] = MappingProxyType(
    {
        "acompcor": (
            "acompcor: six head motion parameters with their derivatives, and five principal "
            "components each of white matter and of cerebrospinal fluid [@compcor]"
        ),
        "24P": (
            "24P: six head motion parameters, their derivatives, and the squares of both "
            "[@satterthwaite2013]"
        ),
        "6P": "6P: six head motion parameters",
        "none": "none: no nuisance regressors besides the mean",
    }
)
FIELD: Mapping[str, str] = MappingProxyType(
    {
        "phasediff": "the phase difference of two gradient echoes",
        "two_phases": "the phases of two gradient echoes",
        "fieldmap": "a measured field map",
        "opposed": "a pair of images with opposed phase encoding [@andersson2003]",
    }
)
VOXELS: Mapping[str, str] = MappingProxyType(
    {"native": "the acquired size, the longest edge of all runs rounded up to 0.5 mm"}
)
AVERAGE = "T1w images of one acquisition were aligned rigidly and averaged as far as they agreed. "
SBREF = (
    "Where a run has a single-band reference, this image was the BOLD reference, aligned rigidly "
    "to the mean of the run."
)
EXTRACTION: Mapping[str, str] = MappingProxyType(
    {
        "ROBEX": "the brain was extracted with ROBEX [@robex]",
        "deepbet": "the brain was extracted with deepbet [@deepbet]",
        "zeros of the image": (
            "the image came without skull, so its own non-zero voxels were the brain mask"
        ),
    }
)
