"""The sections of the settings: what each step is told, with its defaults."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

DEFAULT_SPACE = "MNI152NLin2009cAsym"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSettings:
    """Which data: absolute paths, and labels without prefix; no label means all.

    ``derivatives`` are ``NAME=PATH`` of preprocessed data sets to start from. With ``by_session``
    each session is on its own: no T1w image of another one, and a page for each.
    """

    bids_dir: str
    output_dir: str
    participant_labels: tuple[str, ...] = ()
    exclude_participant_labels: tuple[str, ...] = ()
    session_labels: tuple[str, ...] = ()
    task_ids: tuple[str, ...] = ("rest",)
    run_ids: tuple[str, ...] = ()
    bids_filter_file: str | None = None
    bids_database_dir: str | None = None
    derivatives: tuple[str, ...] = ()
    by_session: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AnatSettings:
    """How the T1w image is processed, and the standard space of all results.

    ``resolution`` is in mm, ``"1"`` or ``"2"``, or ``"native"``: as fine as the BOLD series.
    """

    skull_strip: Literal["auto", "skip", "force"] = "auto"
    space: str = DEFAULT_SPACE
    resolution: str = "2"
    sloppy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BoldSettings:
    """How the BOLD series is preprocessed; ``dummy_scans`` of ``None`` are found in each run.

    ``in_t1w_space`` writes what preprocessing makes in the space of the T1w image, too.
    """

    dummy_scans: int | None = None
    in_t1w_space: bool = False
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiseSettings:
    """Nuisance regression, band-pass, censoring, and what must be left (s, mm, Hz).

    ``model_columns`` are ``NAME=COLUMN`` of the strategies that came from a YAML file,
    ``model_files`` their ``NAME=PATH``. ``motion_filter`` takes breathing (``band_stop_*``, a
    minute) out of the motion parameters.
    """

    strategies: tuple[str, ...] = ("acompcor",)
    model_columns: tuple[str, ...] = ()
    model_files: tuple[str, ...] = ()
    band_pass: bool = True
    low_hz: float = 0.01
    high_hz: float = 0.1
    filter_order: int = 2
    fd_threshold_mm: float = 0.5
    min_time_s: float = 240.0
    min_df: int = 20
    smoothing_fwhm_mm: float = 6.0
    motion_filter: str | None = None
    band_stop_min_bpm: float | None = None
    band_stop_max_bpm: float | None = None
    motion_filter_order: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureSettings:
    """Which measures, which seeds, and what the others need.

    ``seed_networks`` are names of networks (empty: the default set of the table, or all of
    ``seeds_file``); ``seed_series`` and ``seed_regression`` hold for seeds that do not say it.
    ``network_maps`` is a 4D or label image for dual regression (without it there is none), or
    the templates of the ``n_components`` of group ICA.
    ``atlases`` are names or absolute paths. Bands are in Hz; ``dc_threshold`` is a correlation,
    ``dc_density`` and ``graph_densities`` are shares of all pairs; ``graph_thresholds`` are
    correlations, at the participant level only: graphs of a group have equal densities.
    """

    names: tuple[str, ...] = (
        *("seed", "dualregression", "alff", "reho", "centrality", "matrices", "graphs"),
    )
    seeds_file: str | None = None
    seed_networks: tuple[str, ...] = ()
    seed_series: Literal["mean", "eigenvariate"] = "mean"
    seed_regression: Literal["separate", "together"] = "separate"
    network_maps: str | None = None
    atlases: tuple[str, ...] = ("Seitzman300",)
    alff_low_hz: float = 0.01
    alff_high_hz: float = 0.08
    dc_threshold: float = 0.25
    dc_density: float = 0.05
    graph_densities: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
    graph_thresholds: tuple[float, ...] = ()
    graph_weighting: tuple[str, ...] = ("binary",)
    graph_negative: Literal["drop", "absolute", "apart"] = "drop"
    graph_metrics: Literal["core", "all"] = "core"
    graph_nulls: Literal["rewired", "correlated"] = "rewired"
    n_nulls: int = 100
    n_components: int = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSettings:
    """The group model: a file, or what flags say.

    ``contrast`` are texts like ``RLS > HC``, ``A = B = C`` (tested together) or ``RLS`` (its
    mean); none is filled from participants.tsv. ``session_contrast`` is the same for sessions of
    a participant. ``variance_groups`` is a column, empty for that of the groups; ``sites`` may
    be ``none``; ``combat`` is the column over which tables are harmonised, empty for ``site``.
    With ``graph_covariate`` graph metrics are tested twice, without and with each
    participant's mean correlation among the covariates; ``matrix_measures`` are the matrices
    compared. ``correction`` says how far maps are corrected: TFCE and all that costs less,
    clusters and voxels, voxels, or no resampling at all; ``cluster_threshold`` is a two-sided p.
    ``voxel_covariates`` are images as covariates of each voxel of maps; with ``seed_covariate``
    the amount of grey matter in a seed's region is one of the seed's maps.
    """

    model_file: str | None = None
    group_column: str = "group"
    contrast: tuple[str, ...] = ()
    session_contrast: tuple[str, ...] = ()
    regress: str | None = None
    pairs: str | None = None
    sites: str | None = None
    variance_groups: str | None = None
    combat: str | None = None
    covariates: tuple[str, ...] = ("age", "sex", "mean_fd")
    regions: tuple[str, ...] = ()
    equivalence_bound: float | None = None
    max_mean_fd_mm: float | None = None
    n_permutations: int = 5000
    graph_covariate: Literal["none", "mean_r"] = "none"
    matrix_measures: tuple[str, ...] = ("pearsoncorrelation",)
    correction: Literal["tfce", "cluster", "voxel", "fdr"] = "tfce"
    cluster_threshold: float = 0.001
    voxel_covariates: tuple[str, ...] = ()
    seed_covariate: Literal["none", "grey_matter"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """How the graph is run. Only ``random_seed`` may change a number in the outputs."""

    level: Literal["minimal", "full"] = "minimal"
    work_dir: str = "work"
    clean_workdir: bool = False
    n_cpus: int = 1
    omp_nthreads: int = 1
    mem_gb: float = 4.0
    random_seed: int = 0
    anat_only: bool = False
    dry_run: bool = False
    reports_only: bool = False
    boilerplate_only: bool = False
    stop_on_first_crash: bool = False
    plugin_file: str | None = None
    resource_monitor: bool = False
    write_graph: bool = False
    verbosity: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole of it; each workflow builder receives its section only."""

    analysis_level: Literal["participant", "group"]
    input: InputSettings
    anat: AnatSettings
    bold: BoldSettings
    denoise: DenoiseSettings
    measures: MeasureSettings
    group: GroupSettings
    run: RunSettings


SECTIONS: Mapping[str, Any] = {
    field.name: field.type
    for field in dataclasses.fields(Settings)
    if field.name != "analysis_level"
}
