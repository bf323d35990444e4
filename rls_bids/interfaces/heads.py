"""Several T1w images of one session into one."""

import json
from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiPath,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from rls_bids.errors import InputDataError

DIFFERENT = "correlation {:.3f} with the first image after alignment, less than {:g}"


class AverageHeadsInputSpec(BaseInterfaceInputSpec):
    """Inputs of `AverageHeads`."""

    in_files = InputMultiPath(
        File(exists=True), mandatory=True, desc="T1w images; the first gives grid and intensities"
    )
    uris = traits.List(traits.Str(), mandatory=True, desc="the same as BIDS URIs, for sidecars")
    version = traits.Str(mandatory=True, desc="version of the numbers")


class AverageHeadsOutputSpec(TraitedSpec):
    """Outputs of `AverageHeads`."""

    out_file = File(exists=True, desc="mean of the images that agree, on the first one's grid")
    metadata = File(exists=True, desc="which images were used, for sidecars, .json")


class AverageHeads(SimpleInterface):
    """Align T1w images of one acquisition rigidly and average those that agree."""

    input_spec = AverageHeadsInputSpec
    output_spec = AverageHeadsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from rls_bids.interfaces.images import load_volume, save_volume
        from rls_bids.numerics.average import MIN_CORRELATION, average_heads

        folder = Path(runtime.cwd)
        paths = dict(zip(self.inputs.uris, self.inputs.in_files, strict=True))
        own = self.inputs.uris[0]
        first = load_volume(paths.pop(own))
        others, left = {}, []
        for uri, path in paths.items():
            try:
                others[uri] = load_volume(path)
            except InputDataError as error:
                left.append({"Image": uri, "Reason": error.message})
        found = average_heads(first, list(others.values()))
        self._results["out_file"] = save_volume(
            found.data, first.affine, folder / "average.nii.gz"
        )
        used = []
        for uri, value in zip(others, found.correlations, strict=True):
            if value >= MIN_CORRELATION:
                used.append({"Image": uri, "Correlation": round(value, 4)})
            else:
                left.append({"Image": uri, "Reason": DIFFERENT.format(value, MIN_CORRELATION)})
        record = {
            "Sources": [own, *(each["Image"] for each in used)],
            "Averaged": used,
            "NotAveraged": left,
        }
        metadata = folder / "average.json"
        metadata.write_text(json.dumps(record), encoding="utf-8")
        self._results["metadata"] = str(metadata)
        return runtime
