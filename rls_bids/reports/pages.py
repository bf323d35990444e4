"""What a page shows, as plain frozen values; nothing here knows files or HTML."""

from dataclasses import dataclass

from rls_bids.records import Note
from rls_bids.reports.methods import Methods


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureItem:
    """A figure: ``path`` is relative to the output directory, or ``None`` where there is none.

    ``alt`` describes the picture to those who do not see it; ``reason`` says why it is missing.
    """

    title: str
    path: str | None
    alt: str
    caption: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A small table of texts; every row is as long as the header."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A headed part of a page; ``anchor`` is its address within the page."""

    anchor: str
    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[FigureItem, ...] = ()
    parts: tuple["Section", ...] = ()
    is_folded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """The text of a crash file; ``path`` is relative to the output directory."""

    title: str
    text: str
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticipantPage:
    """All that the page of one participant shows, or that of one ``session``."""

    label: str
    version: str
    summary: Section
    notes: tuple[Note, ...]
    sections: tuple[Section, ...]
    methods: Methods
    crashes: tuple[Crash, ...] = ()
    session: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedResult:
    """One seed of a group model.

    ``n_significant`` of ``n_voxels`` voxels have an FDR-adjusted p under .05; ``None`` when the
    model could not be fitted, then ``reason`` says why. ``peaks`` is the table of local maxima.
    """

    name: str
    figure: FigureItem
    n_significant: int | None
    n_voxels: int
    degrees_of_freedom: int | None = None
    peaks: Table | None = None
    text: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPage:
    """All that the page of one group model shows.

    ``groups`` are (first, second): positive t means first > second. ``exclusions`` compares how
    many of each group were left out; ``left_out`` names them with reasons; ``characteristics``
    compares age, sex and motion of who is in. ``graphs`` are the parts on graphs, one an atlas.
    """

    name: str
    version: str
    groups: tuple[str, str]
    n_in: tuple[int, int]
    measure: str
    covariates: tuple[str, ...]
    exclusions: Table
    exclusion_sentence: str
    left_out: Table
    included: Table
    characteristics: Table
    design_figures: tuple[FigureItem, ...]
    seeds: tuple[SeedResult, ...]
    methods: Methods
    notes: tuple[Note, ...] = ()
    crashes: tuple[Crash, ...] = ()
    remarks: tuple[str, ...] = ()
    graphs: tuple[Section, ...] = ()
