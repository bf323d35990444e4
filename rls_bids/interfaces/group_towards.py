"""Whether patients move towards controls in regions, over all maps with one correction."""

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

from rls_bids.interfaces.group_values import LEVEL, WHO
from rls_bids.interfaces.manifest import save_manifest
from rls_bids.interfaces.tables import load_table, save_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rls_bids.numerics.normalisation import Measured, Towards

    Floats = NDArray[np.float64]

MAP = {"map": {"Description": "Seed, network or measure."}}
COLUMNS: Mapping[str, dict[str, str]] = {
    **MAP,
    "region": {"Description": "Declared beforehand, or found in other participants."},
    "n_patients": {"Description": "Patients with both sessions."},
    "n_controls": {"Description": "Controls."},
    "n_untreated": {"Description": "Patients without the treatment, with both sessions."},
    "before": {"Description": "Mean of the patients before, not adjusted."},
    "after": {"Description": "Mean of the patients after, not adjusted."},
    "controls": {"Description": "Mean of the controls, not adjusted."},
    "deficit": {"Description": "Controls - patients before, adjusted for covariates."},
    "change": {
        "Description": "Patients after - before, less that of untreated patients if there are "
        "any, adjusted for the change of covariates."
    },
    "remaining": {"Description": "Deficit - change."},
    "share": {"Description": "Change / deficit; to be read where the deficit is beyond doubt."},
    "z_deficit": {"Description": "z of the deficit, with its sign."},
    "z_change": {"Description": "z of the change, with its sign."},
    "p_deficit": {"Description": "Two-sided p of the deficit from resampling, not corrected."},
    "p_change": {"Description": "One-sided p of a change towards controls, not corrected."},
    "p_remaining": {"Description": "Two-sided p of the difference after, not corrected."},
    "is_closer": {"Description": "Whether the remaining difference is smaller: yes or no."},
    "p": {"Description": "p of the claim that patients moved towards controls, not corrected."},
    "p_fwe": {"Description": "The same, family-wise over all regions of all maps (all rows)."},
    "set": {"Description": "Maps of one set have the same participants and resamplings."},
}
VALUES: Mapping[str, dict[str, str]] = {
    **MAP,
    "participant_id": {"Description": "Participant."},
    "session": {"Description": "Session; n/a where there is one only."},
    "arm": {"Description": "patients, controls or untreated."},
    "time": {"Description": "before or after."},
}
_FIELDS = ("deficit", "change", "remaining", "share", "z_deficit", "z_change")
_P_VALUES = ("p_deficit", "p_change", "p_remaining")
_BLOCKS = (
    *(("patients", "before"), ("patients", "after"), ("controls", "before")),
    *(("untreated", "before"), ("untreated", "after")),
)


class CompareTowardsInputSpec(BaseInterfaceInputSpec):
    """Inputs of `CompareTowards`."""

    values = InputMultiObject(File(exists=True), mandatory=True, desc="means over regions, a map")
    names = traits.List(traits.Str(), mandatory=True, desc="of the maps")
    counts = traits.List(
        traits.List(traits.Int()), mandatory=True, desc="patients, controls, untreated, by map"
    )
    sets = traits.List(traits.Int(), mandatory=True, desc="maps with the same participants")
    covariates = traits.List(traits.Dict(), mandatory=True, desc="of patients and controls")
    changes = traits.List(traits.Dict(), mandatory=True, desc="of patients and untreated")
    source = traits.Str(mandatory=True, desc="where the regions come from")
    variances_differ = traits.Bool(False, usedefault=True, desc="between patients and controls")
    n_permutations = traits.Int(mandatory=True, desc="resamplings asked for")
    random_seed = traits.Int(0, usedefault=True, desc="of the resamplings")
    version = traits.Str(mandatory=True, desc="kernel version")


class CompareTowardsOutputSpec(TraitedSpec):
    """Outputs of `CompareTowards`."""

    manifest = File(exists=True, desc="tests, and the values")


class CompareTowards(SimpleInterface):
    """Test in every region of every map whether patients move towards controls.

    Maps with the same participants are tested at once; p of several such sets are multiplied by
    their number (Bonferroni), so that ``p_fwe`` holds over all rows.
    """

    input_spec = CompareTowardsInputSpec
    output_spec = CompareTowardsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        given, folder = self.inputs, Path(runtime.cwd)
        tables = [load_table(path, texts=WHO) for path in given.values]
        regions = [name for name in tables[0] if name not in WHO]
        stacks = [np.column_stack([table[name] for name in regions]) for table in tables]
        n_sets = len(set(given.sets))
        made: dict[int, dict[str, Any]] = {}
        for first in dict.fromkeys(given.sets):
            places = [place for place, own in enumerate(given.sets) if own == first]
            found = _test([stacks[place] for place in places], first, given)
            for number, place in enumerate(places):
                own = slice(number * len(regions), (number + 1) * len(regions))
                made[place] = _rows(stacks[place], given.counts[place], found, own, n_sets)
                made[place]["map"] = [given.names[place]] * len(regions)
                made[place]["region"] = regions
                made[place]["set"] = [first + 1] * len(regions)
        tests = {
            name: np.concatenate([np.asarray(made[place][name]) for place in sorted(made)])
            for name in COLUMNS
        }
        save_table(tests, folder / "tests.tsv")
        save_table(_values(tables, regions, given), folder / "values.tsv")
        told = {
            "NumberOfSets": n_sets,
            "NumberOfRows": int(np.isfinite(tests["p_fwe"]).sum()),
            "NumberOfRowsFwe05": int((tests["p_fwe"] <= LEVEL).sum()),
        }
        entries = [
            {"key": key, "file": f"{key}.tsv", "metadata": told if key == "tests" else {}}
            for key in ("tests", "values")
        ]
        self._results["manifest"] = save_manifest(entries, folder)
        return runtime


def _blocks(stack: "Floats", counts: Sequence[int]) -> "list[Floats]":
    """Return patients before and after, controls, untreated before and after."""
    n, n_controls, n_others = counts
    ends = [n, 2 * n, 2 * n + n_controls, 2 * n + n_controls + n_others]
    return [stack[start:stop] for start, stop in zip([0, *ends], [*ends, None], strict=True)]


def _measured(stack: "Floats", counts: Sequence[int]) -> "Measured":
    from rls_bids.numerics.normalisation import Measured

    before, after, controls, other_before, other_after = _blocks(stack, counts)
    untreated = other_after - other_before if len(other_before) else None
    return Measured(before=before, after=after, controls=controls, untreated=untreated)


def _test(stacks: "Sequence[Floats]", first: int, given: Any) -> "Towards":
    """Test the regions of all maps of a set."""
    import numpy as np

    from rls_bids.numerics.normalisation import towards_controls

    columns = [
        np.column_stack([list(one) for one in own.values()]) if own else None
        for own in (given.covariates[first], given.changes[first])
    ]
    return towards_controls(
        _measured(np.column_stack(list(stacks)), given.counts[first]),
        given.source,
        covariates=columns[0],
        change_covariates=columns[1],
        variances_differ=given.variances_differ,
        n_resamplings=given.n_permutations,
        seed=given.random_seed,
    )


def _rows(
    stack: "Floats", counts: Sequence[int], found: "Towards", own: slice, n_sets: int
) -> dict[str, Any]:
    """Return the columns of one map, but its name."""
    import numpy as np

    means = [block.mean(axis=0) for block in _blocks(stack, counts)[:3]]
    n_regions = stack.shape[1]
    tested = np.isfinite(found.p[own])
    return {
        **{f"n_{arm}": np.full(n_regions, n) for (arm, n) in zip(_ARMS, counts, strict=True)},
        **dict(zip(("before", "after", "controls"), means, strict=True)),
        **{name: getattr(found, name)[own] for name in (*_FIELDS, *_P_VALUES, "p")},
        "is_closer": [
            ("yes" if closer else "no") if known else None
            for closer, known in zip(found.is_closer[own], tested, strict=True)
        ],
        "p_fwe": np.minimum(found.p_fwe[own] * n_sets, 1.0),
    }


_ARMS = ("patients", "controls", "untreated")


def _values(
    tables: "Sequence[Mapping[str, NDArray[Any]]]", regions: Sequence[str], given: Any
) -> dict[str, Any]:
    """Return what was compared, one map below the other."""
    import numpy as np

    n_rows = [len(table[WHO[0]]) for table in tables]
    marks = [
        mark
        for n, n_controls, n_others in given.counts
        for mark, times in zip(_BLOCKS, (n, n, n_controls, n_others, n_others), strict=True)
        for _ in range(times)
    ]
    return {
        "map": np.repeat(np.array(given.names, dtype=object), n_rows),
        **{name: np.concatenate([table[name] for table in tables]) for name in WHO},
        "arm": np.array([arm for arm, _ in marks], dtype=object),
        "time": np.array([time for _, time in marks], dtype=object),
        **{name: np.concatenate([table[name] for table in tables]) for name in regions},
    }
