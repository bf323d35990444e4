"""Pages: plain values in, one self-contained HTML file out.

A page needs no script and no network; its figures are files beside it, addressed by relative
paths, so that the page moves with the output directory.
"""

import os
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote

from rls_bids.dataset import naming
from rls_bids.dataset.description import atomic_write
from rls_bids.records import Note
from rls_bids.reports.methods import Methods, cited_pieces
from rls_bids.reports.pages import GroupPage, ParticipantPage, Section, SeedResult

if TYPE_CHECKING:
    from jinja2 import Environment

SIGN_CONVENTION = "Positive t: {first} > {second}; negative t: {second} > {first}."
HYPOTHESIS = (
    "Null hypothesis of every test: {measure} does not differ between {first} (n = {n_first}) "
    "and {second} (n = {n_second}){adjusted}. The test is two-sided."
)
NOTHING_SURVIVES = "No voxel survives the false discovery rate (q < .05) in {n_voxels} voxels."
SURVIVORS = (
    "{n} of {n_voxels} voxels survive the false discovery rate (q < .05); they are outlined in "
    "black."
)
INFLATED = (
    "Effect sizes at peaks are selected for being large and are therefore inflated; do not use "
    "them to plan a study."
)
NOT_FITTED = "This was not modelled: {reason}."
UNCORRECTED_ACROSS_MAPS = "p values are corrected over the voxels of each map, not across maps."

_LEVELS = {
    "failed": "failed",
    "skipped": "left out",
    "warning": "done differently",
    "info": "for information",
}
_ORDER = tuple(_LEVELS)


def write_participant_page(output_dir: str | Path, page: ParticipantPage) -> Path:
    """Write the page of one participant.

    Parameters
    ----------
    output_dir : str or Path
        The page goes to ``sub-<label>[_ses-<label>].html`` in it.
    page : ParticipantPage
        What it shows.

    Returns
    -------
    Path
        The page.
    """
    place = naming.report_page(page.label, page.session)
    return _write(
        output_dir,
        place,
        "participant.html.jinja",
        page=page,
        title=place.removesuffix(".html"),
        sections=(page.summary, *page.sections),
    )


def write_group_page(output_dir: str | Path, page: GroupPage) -> Path:
    """Write the page of one group model to ``group/model-<name>.html``.

    Parameters
    ----------
    output_dir : str or Path
        The derivatives' root.
    page : GroupPage
        What it shows.

    Returns
    -------
    Path
        The page.
    """
    first, second = page.groups
    return _write(
        output_dir,
        naming.group_page(page.name),
        "group.html.jinja",
        page=page,
        title=f"{first} compared with {second}",
        hypothesis=hypothesis(page),
        sign=SIGN_CONVENTION.format(first=first, second=second),
        across_maps=UNCORRECTED_ACROSS_MAPS,
        sections=(*(_seed_section(seed) for seed in page.seeds), *page.graphs),
    )


def hypothesis(page: GroupPage) -> str:
    """Return the null hypothesis in words."""
    listed = ", ".join(page.covariates)
    return HYPOTHESIS.format(
        measure=page.measure,
        first=page.groups[0],
        second=page.groups[1],
        n_first=page.n_in[0],
        n_second=page.n_in[1],
        adjusted=f", after adjusting for {listed}" if listed else "",
    )


def fdr_sentence(seed: SeedResult) -> str:
    """Say plainly how much survives correction, or why there is nothing to say."""
    if seed.n_significant is None:
        return NOT_FITTED.format(reason=seed.reason.rstrip(".") or "unknown reason")
    if seed.n_significant == 0:
        return NOTHING_SURVIVES.format(n_voxels=f"{seed.n_voxels:,}")
    return SURVIVORS.format(n=f"{seed.n_significant:,}", n_voxels=f"{seed.n_voxels:,}")


def _seed_section(seed: SeedResult) -> Section:
    anchor = f"seed-{naming.camel_label(seed.name)}"
    if seed.n_significant is None:
        return Section(anchor=anchor, title=seed.name, text=(fdr_sentence(seed), *seed.text))
    freedom = seed.degrees_of_freedom
    degrees = (f"t has {freedom} degrees of freedom.",) if freedom is not None else ()
    parts: tuple[Section, ...] = ()
    if seed.peaks and seed.peaks.rows:
        parts = (
            Section(
                anchor=f"{anchor}-maxima",
                title="Local maxima",
                text=(INFLATED,),
                tables=(seed.peaks,),
            ),
        )
    return Section(
        anchor=anchor,
        title=seed.name,
        text=(" ".join([fdr_sentence(seed), *degrees]), *seed.text),
        figures=(seed.figure,),
        parts=parts,
    )


def render_citation(methods: Methods) -> str:
    """Return the methods section as a page of its own."""
    template = _environment("").get_template("citation.html.jinja")
    return template.render(title="Methods", methods=methods)


def note_groups(notes: tuple[Note, ...]) -> tuple[tuple[str, str, tuple[Note, ...]], ...]:
    """Sort notes by level, the gravest first: (level, its heading, notes)."""
    return tuple(
        (level, _LEVELS[level], found)
        for level in _ORDER
        if (found := tuple(dict.fromkeys(note for note in notes if note.level == level)))
    )


def relative_url(target: str, page: str) -> str:
    """Return the address of a file as seen from a page, both relative to the output directory.

    Examples
    --------
    >>> relative_url("group/model-a/figures/x.svg", "group/model-a.html")
    'model-a/figures/x.svg'
    """
    folder = PurePosixPath(page).parent
    return quote(PurePosixPath(os.path.relpath(target, folder)).as_posix())


@cache
def _environment(page: str) -> "Environment":
    """Return the templates of a page at this place; values are always escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("rls_bids.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cited_pieces"] = cited_pieces
    environment.filters["note_groups"] = note_groups
    environment.filters["url"] = lambda target: relative_url(target, page)
    return environment


def _write(output_dir: str | Path, place: str, template: str, **values: object) -> Path:
    target = Path(output_dir) / place
    text = _environment(place).get_template(template).render(**values)
    atomic_write(target, text)
    return target
