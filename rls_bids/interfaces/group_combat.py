"""The test of a table's columns: of the values as they are, or harmonised over sites (ComBat)."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rls_bids.dataset.description import read_json
from rls_bids.interfaces.designs import Drawn, GroupTest, load_design

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rls_bids.numerics.columns import ColumnTests

TOLERANCE = 1e-8
HARMONISED = (
    "The values were harmonised over {column} (ComBat, {n} sites; parametric empirical Bayes): "
    "effect, statistic and effect size are of the harmonised values, and every resampling, which "
    "stays within sites, was harmonised anew. There is no p by formula, as t has no t "
    "distribution then. Columns of {column} are not in the model of this table."
)


def load_table_design(design_file: str, sidecar_file: str) -> GroupTest:
    """Read the design of a table: where it is harmonised, without what tells the sites.

    What is left has a constant, which the sites may have held.
    """
    import numpy as np

    test, told = load_design(design_file, sidecar_file), read_json(Path(sidecar_file))
    if not told["Combat"]:
        return test
    combat, *own = told["Combat"]
    is_kept = np.array([name not in own for name in told["Columns"]])
    matrix, contrasts = test.matrix[:, is_kept], test.contrasts[:, is_kept]
    ones = np.ones((len(matrix), 1))
    rest = ones - matrix @ np.linalg.lstsq(matrix, ones)[0]
    if np.abs(rest).max() > TOLERANCE:
        matrix = np.hstack([matrix, ones])
        contrasts = np.hstack([contrasts, np.zeros((len(contrasts), 1))])
    return replace(test, matrix=matrix, contrasts=contrasts, combat=combat)


def compare(values: "NDArray[np.float64]", test: GroupTest, drawn: Drawn) -> "ColumnTests":
    """Test the contrast in every column.

    Parameters
    ----------
    values : (n_participants, n_responses, n_columns) array
    test : GroupTest
        As :func:`load_table_design` reads it.
    drawn : Drawn
        Of this test.
    """
    from rls_bids.numerics.columns import compare_columns
    from rls_bids.numerics.combat import combat_permutation

    if test.combat:
        sites, sides = test.units.sites, test.sides
        if sites is None or sides is None:  # planned otherwise
            raise ValueError(test.combat)
        contrast = test.contrasts[0]
        return combat_permutation(
            values[:, 0], sites, test.matrix, contrast, drawn.resamplings, sides
        )
    return compare_columns(
        values,
        test.matrix,
        test.contrast,
        drawn.resamplings,
        (test.size, test.scale),
        variance_groups=test.units.variance_groups,
    )


def told_of_sites(test: GroupTest) -> dict[str, Any]:
    """Return what sidecars say of harmonisation."""
    if not test.combat:
        return {}
    import numpy as np

    n = len(np.unique(np.asarray(test.units.sites)))
    return {"Harmonisation": HARMONISED.format(column=test.combat, n=n)}
