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
from rls_bids.reports.pages import GroupPage, IcaPage, ParticipantPage

if TYPE_CHECKING:
    from jinja2 import Environment

LEAD = "Model “{name}” of {measure}. Tests are two-sided."

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
    return _write(
        output_dir,
        naming.group_page(page.name),
        "group.html.jinja",
        page=page,
        title=group_title(page),
        lead=LEAD.format(name=page.name, measure=page.measure),
        sections=(*page.maps, *page.graphs),
    )


def write_ica_page(output_dir: str | Path, page: IcaPage) -> Path:
    """Write the page of a group ICA to ``group/ica-<number of components>.html``.

    Parameters
    ----------
    output_dir : str or Path
        The derivatives' root.
    page : IcaPage
        What it shows.

    Returns
    -------
    Path
        The page.
    """
    return _write(
        output_dir,
        naming.ica_page(page.n_components),
        "ica.html.jinja",
        page=page,
        title=f"Group ICA, {page.n_components} components",
    )


def group_title(page: GroupPage) -> str:
    """Return the groups that are compared, or the contrasts where there are none."""
    groups = page.groups
    if len(groups) > len(("first", "second")):
        return f"{', '.join(groups[:-1])} and {groups[-1]} compared"
    return " compared with ".join(groups) or "; ".join(each.title for each in page.contrasts)


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
