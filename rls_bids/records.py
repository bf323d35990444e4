"""The frozen values that travel while a graph is built.

Two conventions hold in the whole package:

* Arrays have **observations in rows**: ``(n_volumes, n_voxels)`` for one run and
  ``(n_participants, n_voxels)`` for one group.
* World coordinates are RAS+ millimetres (NIfTI); a *pull* matrix maps a point of the reference
  (or standard) space to the place where the same tissue lies in the moving image.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Entities = tuple[tuple[str, str], ...]
"""BIDS entities as a sorted tuple of (short name, label) pairs, e.g. ``(("run", "1"),)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something that was not done, or was done differently, and why.

    ``level`` is ``"info"``, ``"warning"``, ``"skipped"`` (input left out, others go on) or
    ``"failed"``.
    """

    participant: str | None
    level: Literal["info", "warning", "skipped", "failed"]
    message: str
    hint: str = ""
    where: str = ""
    exit_status: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """One T1w image to preprocess; ``session`` is that of the file (``None`` without one).

    ``others`` are repetitions of the same acquisition, to be averaged with it where they agree;
    ``content`` covers all images.
    """

    participant: str
    session: str | None
    t1w: str
    content: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldMap:
    """The images that tell how the field distorts a run, and how the run is encoded.

    ``images`` are the phase difference, both phases, the map itself (in ``units``), or the image
    encoded like the run and the opposed one; ``echo_times_s`` belong to the phases.
    ``direction`` is the run's (BIDS); ``line_time_s``, the run's, is the time in which 1 Hz
    shifts it by one voxel; ``image_direction`` is that of the first of two opposed images on its
    own grid, and ``image_line_times_s`` belong to both.
    """

    kind: Literal["phasediff", "two_phases", "fieldmap", "opposed"]
    images: tuple[str, ...]
    direction: str
    line_time_s: float
    magnitude: str | None = None
    echo_times_s: tuple[float, ...] = ()
    units: str = ""
    image_direction: str = ""
    image_line_times_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BoldRun:
    """One resting BOLD series with the metadata that preprocessing needs.

    ``entities`` holds what tells the run apart (``task``, ``acq``, ``dir``, ``run`` …, without
    ``sub`` and ``ses``); times are in seconds; ``slice_timing`` is ``None`` where the step is left
    out; ``sbref`` is a single-band reference; ``content`` is a hash of the image bytes, with those
    of the field map and of the reference. ``voxel_size_mm`` is the longest edge of a voxel. The
    first ``dummy_scans`` of the ``n_volumes`` are dropped before anything else. Where several
    ``echoes`` (path, echo time in s; the shortest first) are combined, ``bold`` is the first.
    """

    participant: str
    session: str | None
    entities: Entities
    bold: str
    content: str
    voxel_size_mm: float
    repetition_time: float
    n_volumes: int
    slice_timing: tuple[float, ...] | None
    slice_encoding_direction: str
    dummy_scans: int = 0
    echoes: tuple[tuple[str, float], ...] = ()
    fieldmap: FieldMap | None = None
    sbref: str | None = None

    @property
    def images(self) -> tuple[str, ...]:
        """The series of every echo; of one alone where there are none."""
        return tuple(path for path, _ in self.echoes) or (self.bold,)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRun:
    """One BOLD series that another program has preprocessed, in standard space.

    ``entities``, ``content`` and times are as in :class:`BoldRun`; ``content`` covers series,
    mask and confounds. ``local_bold`` and ``local_mask`` are for local measures: on the acquired
    grid if the program left such a series. The first ``n_dropped`` of ``n_volumes`` are left out.
    ``generator`` names the program, ``start_time`` and ``is_slice_timed`` are ``None`` where its
    sidecar is silent, ``voxel_size_mm``, that of the acquisition, where nothing tells it.
    """

    participant: str
    session: str | None
    entities: Entities
    bold: str
    mask: str
    local_bold: str
    local_mask: str
    confounds: str
    content: str
    voxel_size_mm: float | None
    repetition_time: float
    n_volumes: int
    n_dropped: int
    generator: str
    is_slice_timed: bool | None
    start_time: float | None

    @property
    def images(self) -> tuple[str, ...]:
        """The series, as a tuple like that of a raw run."""
        return (self.bold,)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedAnatomy:
    """Images of another program in standard space; an empty path is one that is missing.

    ``tissues`` are the probabilities of GM, WM and CSF, all three or none; ``content`` covers all
    images.
    """

    participant: str
    session: str | None
    t1w: str
    tissues: tuple[str, ...]
    content: str
    generator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The runs of one task in one session, combined downstream, and the anatomy they use."""

    participant: str
    session: str | None
    task: str
    anatomy: Anatomy | PreparedAnatomy
    runs: tuple[BoldRun | PreparedRun, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """Everything found for one participant; ``notes`` says what was left out and why."""

    label: str
    anatomies: tuple[Anatomy | PreparedAnatomy, ...]
    sessions: tuple[Session, ...]
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """A region whose mean time series is correlated with every voxel, or a mean of such maps.

    ``kind`` is ``"sphere"`` (``centre_mm``, ``radius_mm``), ``"mask"`` (``mask`` names the region
    as ``atlas:label``, or an image) or ``"mean"`` (mean of the z maps of ``members``; with
    ``exclude_own`` each member's own region is left out of its map). ``space`` is the space of
    ``centre_mm`` or of the image, ``evidence`` how that is known; ``given_mm`` and
    ``given_space`` keep what the source says when the seed was moved to another space. ``content``
    is a hash of what a mask is made of. ``series`` is how the voxels become one series;
    ``"together"`` the seeds of a network are put into one regression. Of kind ``"network"`` is
    one of the network maps in the file ``mask``, with its volume (from 1) or label as ``index``.
    """

    name: str
    network: str
    kind: Literal["sphere", "mask", "mean", "network"]
    centre_mm: tuple[float, float, float] | None = None
    radius_mm: float | None = None
    mask: str | None = None
    members: tuple[str, ...] = ()
    exclude_own: bool = False
    space: str = "unknown"
    evidence: str = ""
    source: str = ""
    doi: str = ""
    network_default: bool = False
    given_mm: tuple[float, float, float] | None = None
    given_space: str = ""
    content: str = ""
    index: int = 0
    series: Literal["mean", "eigenvariate", "spatial"] = "mean"
    regression: Literal["separate", "together"] = "separate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Atlas:
    """A set of parcels: where its files are, in which space, and under which licence.

    ``files`` are (path, SHA-256) pairs: below ``package``, an installed package or TemplateFlow's
    directory, or absolute where it is empty; without a checksum the content is not compared.
    ``reader`` is how they are read (:mod:`rls_bids.resources.parcels`), ``threshold`` the least
    probability in per cent. The first pattern of ``lobes`` that a parcel's name matches gives its
    lobe; what matches ``excluded`` is no parcel. ``evidence`` is how the space is known.
    """

    name: str
    kind: Literal["labels", "spheres", "probabilistic"]
    n_parcels: int
    space: str
    evidence: str
    license: str
    source: str
    doi: str
    reader: Literal["seitzman", "coordinates", "numbered", "volumes", "table"]
    package: str
    files: tuple[tuple[str, str], ...]
    radius_mm: float | None = None
    threshold: float = 0.0
    lobes: tuple[tuple[str, str], ...] = ()
    excluded: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One region of an atlas; what is not known of it is empty.

    ``index`` is its label in images; ``centre_mm`` and ``radius_mm`` are those of a sphere, in
    the space of the atlas.
    """

    index: int
    name: str
    hemisphere: Literal["L", "R", ""] = ""
    network: str = ""
    lobe: str = ""
    centre_mm: tuple[float, float, float] | None = None
    radius_mm: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A standard head: the T1w brain on disk and how it may be used."""

    space: str
    resolution: str
    brain: str
    sha256: str
    license: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """One map of a measure: how it is called, its unit, and what a picture of it says.

    ``group_scale`` is the copy by which groups are compared: the map itself (empty), divided by
    its mean (``"meannorm"``) or as z over the voxels (``"zstd"``).
    """

    name: str
    unit: str
    caption: str
    group_scale: Literal["", "meannorm", "zstd"] = ""
    is_compared: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """All that the road needs to know of one measure, in one place.

    ``kind`` is ``"seed"``, ``"network"`` (maps like those of seeds, by dual regression),
    ``"atlas"`` (tables of parcels) or ``"local"``: every voxel has a value of its own,
    computed by ``compute`` from one run (:class:`~rls_bids.numerics.local.LocalRun`) and the
    settings named in ``options``, smoothed afterwards;
    ``is_of_grey``: it is about the grey matter only. ``"group"`` is made of the series of all
    participants together.
    """

    name: str
    kind: Literal["seed", "network", "local", "atlas", "group"]
    version: str
    suffix: str
    stats: tuple[Stat, ...]
    caption: str
    method: str
    sources: tuple[str, ...]
    options: tuple[str, ...] = ()
    is_of_grey: bool = False
    compute: Callable[..., Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What is compared between groups: the connectivity of a seed, a local measure, or graphs.

    ``name`` is for readers; ``seeds`` are the members of the seed and, last, its own record, none
    for a local measure. ``measure`` is the label after ``meas-``, ``scale`` the copy of a local
    measure, ``resolution`` the label of the grid. ``atlas`` is the name of the atlas whose graphs
    are compared (or whose matrices, where ``is_matrix``), else empty.
    """

    name: str
    measure: str
    resolution: str
    seeds: tuple[Seed, ...] = ()
    scale: str = ""
    atlas: str = ""
    is_matrix: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupInput:
    """One participant's map or matrix, the covariates in its sidecar, and its fingerprint.

    ``size_mm`` is the edge of its voxels; ``missing_nodes`` are the nodes without values of a
    matrix.
    """

    participant: str
    session: str | None
    path: str
    mean_fd_mm: float
    minutes_kept: float
    degrees_of_freedom: int
    size_mm: str
    processing: str
    fingerprint: str = ""
    missing_nodes: tuple[str, ...] = ()
