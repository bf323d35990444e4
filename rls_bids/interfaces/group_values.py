"""Group comparisons of numbers: means of maps over regions, quality of the data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from rls_bids.errors import InputDataError
from rls_bids.interfaces.designs import Drawn, GroupTest, draw
from rls_bids.interfaces.group_combat import compare, load_table_design, told_of_sites
from rls_bids.interfaces.group_maps import OTHER_GRID, OTHER_GRID_HINT
from rls_bids.interfaces.group_mixed import MIXED_COLUMNS, mixed_columns
from rls_bids.interfaces.manifest import save_manifest
from rls_bids.interfaces.tables import load_table, save_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rls_bids.numerics.columns import ColumnTests

LEVEL = 0.05
WHO = ("participant_id", "session")
VALUES = {
    "participant_id": {"Description": "Participant."},
    "session": {"Description": "Session; n/a where there is one only."},
}
_PRIOR = "width of the prior (Cauchy) {width}; above 1 for an effect, below 1 for none"
COLUMNS: Mapping[str, dict[str, Any]] = {
    "name": {"Description": "What is compared; each row is a column of the table of values."},
    "n": {"Description": "Participants with a value; a row with fewer than all is not tested."},
    "effect": {"Description": "Effect of the contrast in the unit of the values."},
    "statistic": {"Description": "t, F, v, G or Pillai's F; Resamplings.Statistic says which."},
    "df": {"Description": "Residual degrees of freedom."},
    "p_uncorrected": {
        "Description": "p of the statistic (two-sided for t and v); n/a after harmonisation."
    },
    "p_hc3": {"Description": "Two-sided p with errors that allow unequal variances (HC3)."},
    "p_permutation": {"Description": "p from resampling, not corrected."},
    "p_fwe": {"Description": "p from resampling, family-wise over the rows of this table."},
    "size": {"Description": "Effect size; EffectSize of the design says which."},
    "size_ciLower": {"Description": "Lower 95 % confidence limit of the effect size."},
    "size_ciUpper": {"Description": "Upper 95 % confidence limit of the effect size."},
    "size_withoutOneMin": {"Description": "Smallest effect size with one participant left out."},
    "size_withoutOneMax": {"Description": "Largest effect size with one participant left out."},
    "n_signFlips": {"Description": "Participants without whom the effect has the other sign."},
    "n_matched": {"Description": "Participants left when both groups moved alike."},
    "size_matched": {"Description": "Effect size in those."},
    "p_matched": {"Description": "Two-sided p in those, not corrected."},
    "bf10_medium": {"Description": f"Bayes factor, {_PRIOR.format(width='.5')}."},
    "bf10": {"Description": f"Bayes factor, {_PRIOR.format(width='.707')}."},
    "bf10_ultrawide": {"Description": f"Bayes factor, {_PRIOR.format(width='1')}."},
    "p_equivalence": {"Description": "p of two one-sided tests that the effect is in the bound."},
    "smallest_effect": {"Description": "Standardised effect found with 80 % power at .05."},
    "smallest_effectFamily": {"Description": "The same at .05 divided by the number of rows."},
    "rho": {"Description": "Spearman's partial correlation."},
    "rho_ciLower": {"Description": "Lower 95 % limit of rho (bootstrap)."},
    "rho_ciUpper": {"Description": "Upper 95 % limit of rho (bootstrap)."},
    **MIXED_COLUMNS,
}


class RegionValuesInputSpec(BaseInterfaceInputSpec):
    """Inputs of `RegionValues`."""

    in_files = InputMultiObject(File(exists=True), mandatory=True, desc="maps on one grid")
    labels = traits.List(traits.Str(), mandatory=True, desc="participant of each map")
    sessions = traits.List(traits.Str(), desc="session of each map")
    regions = traits.List(traits.Str(), mandatory=True, desc="atlas:label or mask images")
    space = traits.Str(mandatory=True, desc="standard space of the maps")
    version = traits.Str(mandatory=True, desc="kernel version")


class RegionValuesOutputSpec(TraitedSpec):
    """Outputs of `RegionValues`."""

    values = File(exists=True, desc="one row a map, a column for each region, .tsv")


class RegionValues(SimpleInterface):
    """Average maps over regions; where less than half was measured, a value is missing."""

    input_spec = RegionValuesInputSpec
    output_spec = RegionValuesOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.interfaces.images import load_volume
        from rls_bids.numerics.roi import region_means
        from rls_bids.resources.regions import find_place, region_on_grid

        given = self.inputs
        first = load_volume(given.in_files[0])
        regions = {
            _name(find_place(text).name): region_on_grid(
                text, first.data.shape, first.affine, given.space
            )
            for text in given.regions
        }
        rows = []
        for path in given.in_files:
            volume = load_volume(path)
            is_same = volume.data.shape == first.data.shape
            if not is_same or not np.allclose(volume.affine, first.affine, atol=1e-3):
                message = OTHER_GRID.format(path=path, first=given.in_files[0])
                raise InputDataError(message, OTHER_GRID_HINT)
            seen = np.where(volume.data == 0, np.nan, volume.data)  # 0 marks what has no value
            rows.append(
                [
                    float(region_means(seen[inside][None], np.ones(inside.sum()), [1]).mean[0, 0])
                    for inside in regions.values()
                ]
            )
        values = dict(zip(regions, np.array(rows).T, strict=True))
        path = Path(runtime.cwd) / "values.tsv"
        save_values(values, given.labels, given.sessions or [], path)
        self._results["values"] = str(path)
        return runtime


def _name(region: str) -> str:
    """Return what a region is called in a table: a file without its folder."""
    from rls_bids.resources.regions import is_file

    return Path(region).name if is_file(region) else region


def save_values(
    values: "Mapping[str, Sequence[float] | NDArray[np.float64]]",
    labels: Sequence[str],
    sessions: Sequence[str],
    path: Path,
) -> None:
    """Write a table of values as `CompareValues` reads it."""
    import numpy as np

    told = {
        "participant_id": np.array([f"sub-{label}" for label in labels]),
        "session": np.array(
            [f"ses-{one}" if one else "n/a" for one in sessions or [""] * len(labels)]
        ),
    }
    save_table({**told, **{name: np.asarray(column) for name, column in values.items()}}, path)


class CompareValuesInputSpec(BaseInterfaceInputSpec):
    """Inputs of `CompareValues`."""

    values = File(exists=True, mandatory=True, desc="one row a map in the order of the design")
    design_file = File(exists=True, mandatory=True, desc="one row a participant")
    sidecar_file = File(exists=True, mandatory=True, desc="contrast and units of the design")
    equivalence_bound = traits.Float(0.0, usedefault=True, desc="standardised; 0: not tested")
    n_permutations = traits.Int(mandatory=True, desc="resamplings asked for")
    random_seed = traits.Int(0, usedefault=True, desc="of the resamplings")
    version = traits.Str(mandatory=True, desc="kernel version")


class CompareValuesOutputSpec(TraitedSpec):
    """Outputs of `CompareValues`."""

    manifest = File(exists=True, desc="tests, and the values")


class CompareValues(SimpleInterface):
    """Test a contrast in every column of a table, and say how robust and how sure it is."""

    input_spec = CompareValuesInputSpec
    output_spec = CompareValuesOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import shutil

        from rls_bids.numerics.columns import weigh_sessions

        given, folder = self.inputs, Path(runtime.cwd)
        test = load_table_design(given.design_file, given.sidecar_file)
        drawn = draw(test, given.n_permutations, given.random_seed)
        columns = load_table(given.values, texts=WHO)
        names = [name for name in columns if name not in WHO]
        n_maps = test.matrix.shape[0] * test.responses.shape[1]  # after them who lacks a session
        responses = weigh_sessions(_stack(columns, names)[:n_maps], test.responses)
        tested = compare(responses, test, drawn)
        mixed, told_of_mixed = mixed_columns(given.sidecar_file, columns, names)
        table = _table(names, responses, tested) | _examined(responses, test, drawn, given) | mixed
        save_table({name: table[name] for name in COLUMNS if name in table}, folder / "tests.tsv")
        shutil.copy(given.values, folder / "values.tsv")
        told = {
            "Resamplings": drawn.told,
            **told_of_sites(test),
            **told_of_mixed,
            "EffectSize": test.size,
            "NumberOfRowsFwe05": int((tested.p_fwe <= LEVEL).sum()),
        }
        entries = [
            {"key": key, "file": f"{key}.tsv", "metadata": told if key == "tests" else {}}
            for key in ("tests", "values")
        ]
        self._results["manifest"] = save_manifest(entries, folder)
        return runtime


def _stack(columns: "Mapping[str, NDArray[Any]]", names: Sequence[str]) -> "NDArray[np.float64]":
    import numpy as np

    return np.column_stack([columns[name].astype(float) for name in names])


def _table(
    names: Sequence[str], responses: "NDArray[np.float64]", tested: "ColumnTests"
) -> dict[str, Any]:
    import numpy as np

    return {
        "name": np.array(names),
        "n": np.isfinite(responses).all(axis=1).sum(axis=0),
        "effect": tested.fit.effect,
        "statistic": tested.fit.statistic,
        "df": tested.fit.df,
        "p_uncorrected": tested.fit.p,
        "p_permutation": tested.p_permutation,
        "p_fwe": tested.p_fwe,
        "size": tested.fit.size,
        "size_ciLower": tested.fit.size_lower,
        "size_ciUpper": tested.fit.size_upper,
    }


def _examined(
    responses: "NDArray[np.float64]", test: GroupTest, drawn: Drawn, given: Any
) -> "dict[str, NDArray[np.float64]]":
    """Return the columns beside the test; there are none where several things are tested.

    Neither are there any after harmonisation, for which their formulas do not hold.
    """
    from rls_bids.numerics.examine import Question, examine_columns

    if drawn.statistic.name not in ("t", "v") or test.combat:
        return {}
    question = Question(
        design=test.matrix,
        contrast=test.contrast,
        size=test.size,
        scale=test.scale,
        sides=test.sides,
        mean_fd=test.mean_fd_mm or None,
        bound=given.equivalence_bound,
    )
    values = responses[:, 0]
    return examine_columns(values, question, LEVEL / max(values.shape[1], 1))
