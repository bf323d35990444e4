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
class IcaPage:
    """All that the page of a group ICA shows; ``sections`` are its strategies."""

    n_components: int
    version: str
    lead: str
    sections: tuple[Section, ...]
    methods: Methods
    notes: tuple[Note, ...] = ()
    crashes: tuple[Crash, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContrastWords:
    """A contrast in words: its null hypothesis, and what a positive t means."""

    title: str
    hypothesis: str
    sign: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPage:
    """All that the page of one group model shows.

    ``groups`` are those that some contrast compares. ``contrasts`` are told in words, ``tested``
    lists them with what was exchanged, ``codings`` say what the columns hold. ``exclusions``
    compares how many of each group were left out; ``left_out`` names them with reasons;
    ``characteristics`` compares age, sex and motion of who is in. ``maps`` are the parts on
    maps, that on all together first; ``graphs`` those on graphs, one an atlas.
    """

    name: str
    version: str
    groups: tuple[str, ...]
    measure: str
    contrasts: tuple[ContrastWords, ...]
    tested: Table
    codings: tuple[Table, ...]
    exclusions: Table
    exclusion_sentence: str
    left_out: Table
    included: Table
    characteristics: Table
    design_figures: tuple[FigureItem, ...]
    maps: tuple[Section, ...]
    methods: Methods
    notes: tuple[Note, ...] = ()
    crashes: tuple[Crash, ...] = ()
    remarks: tuple[str, ...] = ()
    graphs: tuple[Section, ...] = ()
