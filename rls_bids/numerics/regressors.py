"""Which columns of a confounds table a nuisance regression takes, and of which family each is."""

import difflib
import re
from collections.abc import Iterable, Sequence

from rls_bids.errors import InputDataError
from rls_bids.numerics.breathing import FILTERED, is_motion
from rls_bids.numerics.compcor import N_COMPONENTS
from rls_bids.numerics.confounds import EXPANSIONS, MOTION, SIGNALS

VERSION = "1"

MISSING_COLUMNS = (
    "The confounds table lacks {missing}, which the nuisance regression {strategy} needs."
)
MISSING_COLUMNS_HINT = (
    "The table comes from data without enough tissue for components, or from another program; "
    "use -p 24P or -p 6P."
)
NO_SUCH_COLUMN = "{source} asks for {pattern!r}, but the confounds table has no such column."
NO_MATCH = "{source} asks for {pattern!r}, but it matches no column of the confounds table."
NEAREST_HINT = "Nearest are {nearest}."

# What a run may lack by its nature: drifts in a short one, outliers in a quiet one.
OPTIONAL = ("cosine00", "motion_outlier00")

FAMILIES = (
    "motion",
    "motion, differences",
    "motion, squares",
    "CSF components",
    "WM components",
    "tissue signals",
    "global signal",
    "cosines",
    "others",
)


def _built_in(strategy: str) -> list[str]:
    """Return the columns of a built-in strategy, without cosines."""
    expansions = {
        "none": (),
        "6P": EXPANSIONS[:1],
        "24P": EXPANSIONS,
        "36P": EXPANSIONS,
        "acompcor": EXPANSIONS[:2],
        "acompcor_gsr": EXPANSIONS[:2],
    }
    columns = [name + suffix for name in MOTION for suffix in expansions[strategy]]
    if strategy.startswith("acompcor"):
        columns += [f"{t}_comp_cor_{i:02d}" for t in "cw" for i in range(N_COMPONENTS)]
    signals = {"36P": SIGNALS, "acompcor_gsr": ("global_signal",)}.get(strategy, ())
    return columns + [name + suffix for name in signals for suffix in EXPANSIONS]


def _listed(patterns: Sequence[str], known: Sequence[str], source: str) -> list[str]:
    """Return the columns that the names and expressions of a file stand for."""
    found: list[str] = []
    for pattern in patterns:
        if not pattern.startswith("^"):
            own, words = [name for name in known if name == pattern], NO_SUCH_COLUMN
        else:
            expression, words = re.compile(pattern), NO_MATCH
            own = [name for name in known if expression.match(name)]
            if not own and any(expression.match(name) for name in OPTIONAL):
                continue
        if not own:
            plain = re.sub(r"\\.|[^A-Za-z0-9_]", "", pattern)
            nearest = difflib.get_close_matches(plain, known, n=3, cutoff=0.3)
            hint = NEAREST_HINT.format(nearest=", ".join(nearest)) if nearest else ""
            raise InputDataError(words.format(source=source, pattern=pattern), hint)
        found += own
    return list(dict.fromkeys(found))


def columns_for(
    strategy: str,
    available: Iterable[str],
    *,
    band_pass: bool,
    patterns: Sequence[str] = (),
    source: str = "",
) -> list[str]:
    """Return the columns that a nuisance regression takes.

    ``6P``: the motion parameters; ``24P``: with their differences and the squares of both;
    ``36P``: also CSF, white matter and global signal with the same; ``acompcor``: parameters,
    differences, 5 components each of CSF and white matter; ``acompcor_gsr``: also the global
    signal with difference and squares; ``none``: nothing.

    Parameters
    ----------
    strategy : str
        One of these, or any other name with `patterns`.
    available : iterable of str
        Columns of the table. Where it has motion parameters without breathing (``*_filtered``),
        these are taken in the place of the others.
    band_pass : bool
        Without it the ``cosine*`` columns join, for every strategy.
    patterns : sequence of str
        Names of columns, or regular expressions that start with ``^`` and must match from a
        name's start.
    source : str
        The file of the patterns, for messages.

    Returns
    -------
    list of str

    Raises
    ------
    InputDataError
        The table lacks columns, or a pattern matches none. Patterns for ``cosine*`` and
        ``motion_outlier*`` may match none.

    Notes
    -----
    The columns of 24P and 36P are XCP-D's. XCP-D's ``acompcor`` has the cosines with a band-pass,
    too; its ``acompcor_gsr`` has them and the plain global signal alone.

    Examples
    --------
    >>> columns_for("none", ["cosine00", "trans_x"], band_pass=False)
    ['cosine00']
    >>> columns_for("mine", ["rot_x", "rot_y", "csf"], band_pass=True, patterns=["csf", "^rot_"])
    ['csf', 'rot_x', 'rot_y']
    """
    known = list(available)
    plain = [name for name in known if not name.endswith(FILTERED)]
    if patterns:
        wanted = _listed(patterns, plain, source)
    else:
        wanted = _built_in(strategy)
        if missing := [name for name in wanted if name not in plain]:
            raise InputDataError(
                MISSING_COLUMNS.format(missing=", ".join(missing), strategy=strategy),
                MISSING_COLUMNS_HINT,
            )
    if not band_pass:
        wanted += [name for name in plain if name.startswith("cosine") and name not in wanted]
    there = set(known)
    return [name + FILTERED if name + FILTERED in there else name for name in wanted]


def own_columns() -> tuple[str, ...]:
    """Return the columns that our own preprocessing writes for every run of usual length."""
    components = [f"{t}_comp_cor_{i:02d}" for t in "cw" for i in range(N_COMPONENTS)]
    expanded = [name + suffix for name in (*SIGNALS, *MOTION) for suffix in EXPANSIONS]
    return (*expanded, "std_dvars", "dvars", "framewise_displacement", *components)


def family_of(name: str) -> str:
    """Return the family of a column, one of :data:`FAMILIES`.

    Examples
    --------
    >>> [family_of(name) for name in ("rot_x_filtered", "csf_power2", "w_comp_cor_03", "dvars")]
    ['motion', 'tissue signals', 'WM components', 'others']
    """
    plain = name.removesuffix(FILTERED)
    if is_motion(plain):
        squared, differenced = "_power2" in plain, "_derivative1" in plain
        return FAMILIES[2 if squared else 1 if differenced else 0]
    for start, family in (
        ("c_comp_cor_", FAMILIES[3]),
        ("w_comp_cor_", FAMILIES[4]),
        ("csf", FAMILIES[5]),
        ("white_matter", FAMILIES[5]),
        ("global_signal", FAMILIES[6]),
        ("cosine", FAMILIES[7]),
    ):
        if plain.startswith(start):
            return family
    return FAMILIES[8]
