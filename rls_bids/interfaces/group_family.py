"""All maps of one model corrected together, from what their resamplings left behind."""

from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from rls_bids.interfaces.manifest import save_manifest

ONE_MAP = "one map"
MIN_P = "min-P over {n} maps with the same resamplings"
HOLM = "Holm over {n_sets} sets with other resamplings; min-P over the {n} maps of this set"
HOLM_ALONE = "Holm over {n_sets} sets with other resamplings"
FAMILY_COLUMNS = {
    "map": {"Description": "Seed, network or measure."},
    "contrast": {"Description": "What is compared."},
    "n": {"Description": "Participants in the model of this map."},
    "p_fwe": {"Description": "Smallest p of the map, family-wise over its voxels or clusters."},
    "p_family": {
        "Description": "The same, family-wise over all maps of the table, never below p_fwe."
    },
    "method": {"Description": "How the maps were corrected together."},
    "set": {"Description": "Maps of one set have the same participants and resamplings."},
}


class CorrectFamilyInputSpec(BaseInterfaceInputSpec):
    """Inputs of `CorrectFamily`."""

    maxima_files = InputMultiObject(File(exists=True), mandatory=True, desc="one a map")
    names = traits.List(traits.Str(), mandatory=True, desc="of the maps")
    contrasts = traits.List(traits.Str(), mandatory=True, desc="of the maps")
    counts = traits.List(traits.Int(), mandatory=True, desc="participants of the maps")
    column = traits.Str(mandatory=True, desc="of the tables of maxima")
    stamp = traits.Str(mandatory=True, desc="changes with any map")


class CorrectFamilyOutputSpec(TraitedSpec):
    """Outputs of `CorrectFamily`."""

    manifest = File(exists=True, desc="the table, and the smallest p of each resampling")
    minima = File(exists=True, desc="the latter, a column for each set")


class CorrectFamily(SimpleInterface):
    """Correct maps together: those with the same resamplings by min-P, the others by Holm."""

    input_spec = CorrectFamilyInputSpec
    output_spec = CorrectFamilyOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.dataset.description import read_json
        from rls_bids.dataset.naming import sidecar
        from rls_bids.interfaces.tables import load_table, save_table
        from rls_bids.numerics.family import adjust_p, correct_sets

        given, folder = self.inputs, Path(runtime.cwd)
        told = [read_json(sidecar(path)) for path in given.maxima_files]
        sets = [each["Resamplings"]["Set"] for each in told]
        maxima = [load_table(path)[given.column] for path in given.maxima_files]
        found = correct_sets(maxima, sets)
        p = np.array([each["SmallestPCorrected"] for each in told])
        table = {
            "map": np.array(given.names),
            "contrast": np.array(given.contrasts),
            "n": np.array(given.counts),
            "p_fwe": p,
            "p_family": np.maximum(found.p_family, p),
            "method": np.array([_method(name, sets) for name in sets]),
            "set": np.array(sets),
        }
        save_table(table, folder / "family.tsv")
        longest = max(len(one) for one in found.smallest.values())
        minima = {name: np.full(longest, np.nan) for name in found.smallest}
        for name, one in found.smallest.items():
            minima[name][: len(one)] = one
        save_table(minima, folder / "minima.tsv")
        self._results["minima"] = str(folder / "minima.tsv")
        lowest = [float(adjust_p(one.min(), one)) for one in found.smallest.values()]
        about = {
            "NumberOfMaps": len(sets),
            "NumberOfSets": len(found.smallest),
            "SmallestPFamily": min(1.0, len(lowest) * min(lowest)),
        }
        self._results["manifest"] = save_manifest(
            [
                {"key": key, "file": f"{key}.tsv", "metadata": about}
                for key in ("family", "minima")
            ],
            folder,
        )
        return runtime


def _method(name: str, sets: list[str]) -> str:
    """Say how a map of one set was corrected.

    Examples
    --------
    >>> _method("a", ["a", "b", "a"])
    'Holm over 2 sets with other resamplings; min-P over the 2 maps of this set'
    """
    n, n_sets = sets.count(name), len(set(sets))
    if len(sets) == 1:
        return ONE_MAP
    words = MIN_P if n_sets == 1 else HOLM_ALONE if n == 1 else HOLM
    return words.format(n=n, n_sets=n_sets)
