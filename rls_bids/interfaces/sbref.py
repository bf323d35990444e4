"""The single-band reference of a BOLD run, brought to where the run's mean has the head."""

import json
from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

SBREF, MEAN = "single-band reference", "mean of the run"
MIN_CORRELATION = 0.5
"""A reference shows tissues with more contrast than the mean; other images correlate less."""


class PlaceReferenceInputSpec(BaseInterfaceInputSpec):
    """Inputs of `PlaceReference`."""

    sbref = File(exists=True, mandatory=True, desc="single-band reference, on any grid")
    boldref = File(exists=True, mandatory=True, desc="mean of the realigned volumes")
    version = traits.Str(mandatory=True, desc="version of the numbers")


class PlaceReferenceOutputSpec(TraitedSpec):
    """Outputs of `PlaceReference`."""

    boldref = File(exists=True, desc="what coregistration shall use, in the space of the mean")
    metadata = File(exists=True, desc="which image that is and how it fitted, .json")


class PlaceReference(SimpleInterface):
    """Align the single-band reference rigidly to the mean of the run.

    Its voxels stay as they are: the matrix goes into the header. Where the two do not agree after
    alignment the mean is handed on instead.
    """

    input_spec = PlaceReferenceInputSpec
    output_spec = PlaceReferenceOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import nibabel as nib
        import numpy as np
        from nilearn.masking import compute_epi_mask

        from rls_bids.interfaces.coregistration import mean_way
        from rls_bids.interfaces.images import load_volume, resample_to, save_volume
        from rls_bids.numerics.average import agreement
        from rls_bids.numerics.coregister import align

        mean, sbref = load_volume(self.inputs.boldref), load_volume(self.inputs.sbref)
        image = compute_epi_mask(nib.Nifti1Image(mean.data, mean.affine), opening=1)
        brain = np.asarray(image.dataobj, dtype=bool)
        pull = align(mean.data, mean.affine, brain, sbref.data, sbref.affine).matrix
        moved = resample_to(sbref, mean, pull, order=1)
        fit = agreement(mean.data, moved, brain, mean.affine)
        is_used = fit >= MIN_CORRELATION
        record = {
            "CoregistrationReference": SBREF if is_used else MEAN,
            "ReferenceCorrelation": round(fit, 4),
            "ReferenceMovedMm": round(mean_way(brain, mean.affine, pull), 3),
        }
        folder = Path(runtime.cwd)
        placed = np.asarray(np.linalg.inv(pull) @ sbref.affine, dtype=np.float64)
        self._results["boldref"] = (
            save_volume(sbref.data, placed, folder / "sbref.nii.gz")
            if is_used
            else self.inputs.boldref
        )
        metadata = folder / "reference.json"
        metadata.write_text(json.dumps(record), encoding="utf-8")
        self._results["metadata"] = str(metadata)
        return runtime
