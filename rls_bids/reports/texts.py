"""What figures are called and how values are written, the same on every page."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rls_bids.records import Entities
from rls_bids.reports.pages import FigureItem

NOTHING = "–"
AVERAGED = "The average of {n} T1w images: {names}."
SBREF = "single-band reference"
SBREF_USED = (
    "The single-band reference was coregistered, after rigid alignment to the mean of the run "
    "({moved:.1f} mm on average, correlation {fit:.2f})."
)
SBREF_NOT_USED = (
    "The mean of the run was coregistered: after alignment the single-band reference did not "
    "agree with it (correlation {fit:.2f})."
)
NOT_AVERAGED = "{name} was left out of the average: {reason}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Title, text for those who do not see the picture, and caption of one kind of figure."""

    title: str
    alt: str
    caption: str


FIGURES: Mapping[str, Words] = MappingProxyType(
    {
        "brainmask": Words(
            title="Brain mask",
            alt="T1w image in three planes with the outline of the brain mask",
            caption="Check that no brain is cut off (temporal poles, cerebellum) and no skull or "
            "eye is inside.",
        ),
        "tissue": Words(
            title="Tissues",
            alt="T1w image in three planes with the borders of white matter and CSF",
            caption="Check the borders of white matter and CSF: confounds come from within them.",
        ),
        "normalization": Words(
            title="Normalisation",
            alt="T1w image in standard space in three planes with the template's borders",
            caption="Check ventricles, deep nuclei and the cortical outline: seeds are placed "
            "through this transform.",
        ),
        "coregistration": Words(
            title="Coregistration",
            alt="BOLD reference in three planes with brain and white matter borders of the T1w",
            caption="Check that the BOLD reference fits the lines in all three planes. It is "
            "normal that signal is missing above the sinuses and the ear canals.",
        ),
        "distortion": Words(
            title="Distortion",
            alt="BOLD reference in three planes as acquired and corrected, with borders of the "
            "T1w image",
            caption="Check that the corrected image fits the lines better, above all behind the "
            "forehead and beside the ears. If it fits worse, the field map belongs to another "
            "run or its sign is wrong: run again with --ignore fieldmaps.",
        ),
        "motion": Words(
            title="Head motion",
            alt="Translations, rotations and framewise displacement over time",
            caption="Shaded: censored volumes.",
        ),
        "carpet": Words(
            title="Carpet plot",
            alt="Every voxel's signal over time before and after denoising, with displacement "
            "and DVARS above",
            caption="Every row is a voxel, sorted by tissue. Vertical stripes that remain after "
            "denoising are motion or breathing that was not removed.",
        ),
        "loadings": Words(
            title="Confound loadings",
            alt="Bars of the variance that each family of regressors explains, of each "
            "regressor's correlation with the voxels, and the regressors' correlation matrix",
            caption="Pale: what a family explains by itself; dark: what only it explains; red "
            "mark: what as many random regressors would. Little above chance costs degrees of "
            "freedom for nothing; red or blue blocks off the diagonal are regressors that say "
            "the same.",
        ),
        "seeds": Words(
            title="Seeds on the T1w image",
            alt="Close-ups of the T1w image in three planes with the outline of each seed",
            caption="Check that each outline lies inside its structure.",
        ),
        "seedmap": Words(
            title="Seed map",
            alt="Connectivity map in three planes through the seed, with axial slices below",
            caption="",
        ),
        "localmap": Words(
            title="Local measure",
            alt="Map in three planes through the middle, with axial slices below",
            caption="",
        ),
        "matrix": Words(
            title="Correlation matrix",
            alt="Square of correlations between parcels, with lines between networks",
            caption="",
        ),
        "graph": Words(
            title="Graphs",
            alt="Global graph metrics over density beside those of null networks",
            caption="",
        ),
        "component": Words(
            title="Component",
            alt="Component in three planes through its peak, with axial slices below",
            caption="",
        ),
        "zmap": Words(
            title="z map",
            alt="Map of z in three planes through the seed, with axial slices below",
            caption="Without threshold; colours fade out below |z| = 2. Yellow: the seed. Black: "
            "what survives correction.",
        ),
        "corrected": Words(
            title="What survives",
            alt="Map of z where it survives correction, in three planes through its highest value",
            caption="z where the corrected p is .05 or less; planes through the highest value.",
        ),
        "curves": Words(
            title="Graphs over density",
            alt="Six global graph metrics over density, a curve with its band for each group",
            caption="Means of the groups with their 95 % confidence bands, not adjusted.",
        ),
        "nodes": Words(
            title="Nodes that differ",
            alt="t of nodal graph metrics as dots inside the outline of the brain, four views",
            caption="Areas under the curves. Ringed: family-wise p ≤ .05 over the nodes.",
        ),
        "edges": Words(
            title="Connections that differ",
            alt="Square of z of connections, by network; surviving ones above the diagonal",
            caption="Below the diagonal: all connections; above it: those of networks that "
            "survive by their intensity (family-wise p ≤ .05). Dots: survive by themselves.",
        ),
        "connectome": Words(
            title="Networks that differ",
            alt="Surviving networks as lines inside the outline of the brain, four views",
            caption="Connections of networks that survive by intensity (family-wise p ≤ .05); "
            "a larger dot has more of them.",
        ),
        "design": Words(
            title="Design matrix",
            alt="The design matrix in grey levels, a row for each participant",
            caption="Every column from its lowest to its highest value; the table above says what "
            "it holds.",
        ),
        "covariates": Words(
            title="Covariates by group",
            alt="Every participant's covariates as dots, by group",
            caption="Of who is in at least one model.",
        ),
    }
)


def figure_item(
    root: Path, path: str, what: str, reason: str, detail: str = "", caption: str = ""
) -> FigureItem:
    """Return a figure of the page, or a place-holder with the reason when it is not on disk.

    A PNG of the same name serves when there is no SVG.
    """
    words = FIGURES[what]
    title = f"{words.title}: {detail}" if detail else words.title
    shown = next(
        (each for each in (path, path.removesuffix(".svg") + ".png") if (root / each).is_file()),
        None,
    )
    return FigureItem(
        title=title,
        path=shown,
        alt=f"{words.alt} ({detail})" if detail else words.alt,
        caption=caption or words.caption,
        reason="" if shown else reason,
    )


def anatomy_words(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Say of which images the T1w image of a session is the average, from its sidecar."""
    if "Averaged" not in metadata:
        return ()
    names = [str(uri).rpartition("/")[2] for uri in metadata["Sources"]]
    left = (
        NOT_AVERAGED.format(
            name=str(each["Image"]).rpartition("/")[2], reason=str(each["Reason"]).rstrip(".")
        )
        for each in metadata["NotAveraged"]
    )
    return (AVERAGED.format(n=len(names), names=", ".join(names)), *left)


def reference_words(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Say which image was coregistered where a run has a single-band reference."""
    if "CoregistrationReference" not in metadata:
        return ()
    fit = float(metadata["ReferenceCorrelation"])
    if metadata["CoregistrationReference"] == SBREF:
        return (SBREF_USED.format(moved=metadata["ReferenceMovedMm"], fit=fit),)
    return (SBREF_NOT_USED.format(fit=fit),)


def run_title(session: str | None, run: Entities) -> str:
    """Return a run in words.

    Examples
    --------
    >>> run_title("A", (("run", "1"), ("task", "rest")))
    'session A, task rest, run 1'
    """
    entities = dict(run)
    task = [("task", entities.pop("task"))] if "task" in entities else []
    named = ([("session", session)] if session else []) + task + sorted(entities.items())
    return ", ".join(f"{name} {label}" for name, label in named)


def capitalised(text: str) -> str:
    """Return a text with a capital first letter and the rest as it is."""
    return text[:1].upper() + text[1:]


def number(value: object, digits: int = 3) -> str:
    """Return a value for a table: three significant digits, a dash for what is missing.

    Examples
    --------
    >>> number(0.12345), number(240), number(None), number(-12)
    ('0.123', '240', '–', '−12')
    """
    if value is None:
        return NOTHING
    if isinstance(value, float):
        text = f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"
        return text.replace("-", "−")
    if isinstance(value, int):
        return f"{value}".replace("-", "−")
    return str(value)
