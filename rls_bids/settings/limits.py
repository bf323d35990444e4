"""What each setting may be: words, ranges, files, and the sentences when it is not."""

import re
from collections.abc import Mapping

STRATEGIES = ("acompcor", "acompcor_gsr", "24P", "36P", "6P", "none")
MOTION_FILTERS = ("notch", "lp")
STEPS_TO_IGNORE = ("fieldmaps", "fmap-jacobian", "slicetiming", "sbref")
T1W_SPACE = "T1w"

UNKNOWN_WORD = "{flag} got {found!r}, but it takes {expected}."
BAD_LABEL = "{flag} got the label {found!r}, but a label holds only letters, digits and '+'."
OUT_OF_RANGE = "{flag} got {found!r}, but it must be {expected}."
WRONG_TYPE = "The setting {name} is {found!r}, but it must be {expected}."
UNKNOWN_SETTING = "{source} has the setting {name!r}, which does not exist."
MISSING_SETTING = "{source} lacks the setting {name}."
BAD_TOML = "{source} is not a settings file: {reason}."
FILE_MISSING = "{flag} names {path}, but there is no such file."
BAND_ORDER = (
    "--lower-bpf is {low:g} Hz and --upper-bpf is {high:g} Hz, but the lower must be less."
)
GRAPHS_WITHOUT_MATRICES = "--measures got graphs without matrices, of which graphs are made."
ICA_OF_GROUP = (
    "--measures got ica at the participant level, but its networks are found at the group level, "
    "in the series that `participant --level full` writes."
)
ICA_ALONE = (
    "--measures got ica with {others}, but group ICA runs by itself: its components are given to "
    "the participant level by --network-maps."
)
DENSITY_ABOVE_ONE = "--graph-densities got {found:g}, but a share of all pairs is at most 1."
THRESHOLD_OF_ONE = "--graph-thresholds got {found:g}, but a correlation above it is less than 1."
MOST_P = 0.5
CLUSTER_P = "--cluster-threshold got {found:g}, but it must be a p between 0 and 0.5."
ALFF_ORDER = "--alff-band got {low:g} and {high:g} Hz, but the lower must come first and be less."
STOP_WITHOUT_FILTER = (
    "{flags} without --motion-filter-type: it says how breathing is taken out of head motion."
)
NOTCH_NEEDS = "--motion-filter-type notch needs both --band-stop-min and --band-stop-max."
LP_NEEDS = "--motion-filter-type lp needs --band-stop-min alone: the highest frequency that stays."
STOP_ORDER = (
    "--band-stop-min is {low:g} and --band-stop-max is {high:g}, but the lower must be less."
)
ODD_ORDER = "--motion-filter-order is {found}, but it must be even: the filter runs both ways."
ANAT_ONLY_DERIVATIVES = "--anat-only and --derivatives exclude each other: nothing would be done."
T1W_DERIVATIVES = (
    "--output-spaces T1w and --derivatives exclude each other: preprocessed series are not "
    "resampled to the T1w image."
)
TOO_MANY_THREADS = "--omp-nthreads is {threads}, but only {cpus} CPUs may be used (--n-cpus)."
BAD_CONTRAST = (
    "{flag} got {found!r}, but it takes a difference like 'A > B', several that are equal like "
    "'A = B = C', or one like 'A'."
)
MODEL_AND_FLAGS = "--model and {flags} exclude each other: the file says what is compared."
REGRESS_AND_CONTRAST = "--regress and --contrast exclude each other: one regression, or groups."
BAD_SPACE = (
    "--output-spaces got {found!r}, but it takes one standard space like "
    "MNI152NLin2009cAsym:res-2, and T1w beside it."
)
NO_SURFACES = "--output-spaces got {found!r}, but rls_bids makes volumes only."
ONE_STANDARD_SPACE = (
    "--output-spaces got the standard spaces {found}, but results are made in one; "
    "run again with another output directory for another."
)
SURFACES = ("fsnative", "fsaverage", "fsaverage5", "fsaverage6", "fsLR", "dhcpAsym")

KINDS: Mapping[object, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "a text"),
}
KINDS_OF_ITEMS: Mapping[object, tuple[tuple[type, ...], str]] = {
    str: ((str,), "a list of texts"),
    float: ((int, float), "a list of numbers"),
}
LEVELS = ("participant", "group")
ICA = "ica"
MEASURE_NAMES = (
    *("seed", "dualregression", "alff", "reho", "centrality", "matrices", "graphs"),
    ICA,
)
MATRIX_TESTS = ("pearsoncorrelation", "partialcorrelation", "tangent")
SEED_SERIES = ("mean", "eigenvariate")
SEED_REGRESSIONS = ("separate", "together")
LABELS = {
    "input.participant_labels": ("--participant-label", "sub-"),
    "input.exclude_participant_labels": ("--exclude-participant-label", "sub-"),
    "input.session_labels": ("--session-label", "ses-"),
    "input.task_ids": ("--task-id", "task-"),
    "input.run_ids": ("--run-id", "run-"),
}
WORDS = {
    "anat.skull_strip": ("--skull-strip-t1w", ("auto", "skip", "force")),
    "anat.resolution": ("--output-spaces", ("1", "2", "native")),
    "bold.ignore": ("--ignore", STEPS_TO_IGNORE),
    "measures.names": ("--measures", MEASURE_NAMES),
    "measures.graph_weighting": ("--graph-weighting", ("binary", "weighted")),
    "measures.graph_negative": ("--graph-negative", ("drop", "absolute", "apart")),
    "measures.graph_metrics": ("--graph-metrics", ("core", "all")),
    "measures.graph_nulls": ("--graph-nulls", ("rewired", "correlated")),
    "measures.seed_series": ("--seed-series", SEED_SERIES),
    "measures.seed_regression": ("--seed-regression", SEED_REGRESSIONS),
    "denoise.motion_filter": ("--motion-filter-type", MOTION_FILTERS),
    "group.graph_covariate": ("--graph-covariate", ("none", "mean_r")),
    "group.matrix_measures": ("--matrix-measures", MATRIX_TESTS),
    "group.voxel_covariates": ("--voxel-covariates", ("grey_matter", "baseline")),
    "group.seed_covariate": ("--seed-covariate", ("none", "grey_matter")),
    "group.correction": ("--correction", ("tfce", "cluster", "voxel", "fdr")),
    "run.level": ("--level", ("minimal", "full")),
}
NAMES_OR_PATHS = ("measures.atlases", "group.regions")
"""Lists of names in which an entry with a slash, or of an image, is a path."""
IMAGE_ENDINGS = (".nii", ".nii.gz")
FILES = {
    "input.bids_filter_file": "--bids-filter-file",
    "measures.seeds_file": "--seeds",
    "measures.network_maps": "--network-maps",
    "group.model_file": "--model",
    "run.plugin_file": "--nipype-plugin-file",
}
PATHS = (
    "input.bids_dir",
    "input.output_dir",
    "input.bids_database_dir",
    "input.derivatives",
    "run.work_dir",
    *NAMES_OR_PATHS,
    *FILES,
)
RANGES: Mapping[str, tuple[str, float, bool, str]] = {
    "bold.dummy_scans": ("--dummy-scans", 0, True, "0 or more volumes"),
    "denoise.low_hz": ("--lower-bpf", 0, False, "more than 0 Hz"),
    "denoise.high_hz": ("--upper-bpf", 0, False, "more than 0 Hz"),
    "denoise.filter_order": ("--bpf-order", 1, True, "1 or more"),
    "denoise.fd_threshold_mm": ("--fd-thresh", 0, True, "0 mm (no censoring) or more"),
    "denoise.min_time_s": ("--min-time", 0, True, "0 s or more"),
    "denoise.min_df": ("--min-df", 1, True, "1 or more"),
    "denoise.band_stop_min_bpm": ("--band-stop-min", 0, False, "more than 0 breaths/min"),
    "denoise.band_stop_max_bpm": ("--band-stop-max", 0, False, "more than 0 breaths/min"),
    "denoise.motion_filter_order": ("--motion-filter-order", 2, True, "2 or more"),
    "denoise.smoothing_fwhm_mm": ("--smoothing", 0, True, "0 mm (no smoothing) or more"),
    "measures.alff_low_hz": ("--alff-band", 0, False, "more than 0 Hz"),
    "measures.alff_high_hz": ("--alff-band", 0, False, "more than 0 Hz"),
    "measures.dc_threshold": ("--dc-threshold", 0, True, "a correlation of 0 or more"),
    "measures.graph_densities": ("--graph-densities", 0, False, "more than 0"),
    "measures.graph_thresholds": ("--graph-thresholds", 0, True, "a correlation of 0 or more"),
    "measures.n_nulls": ("--n-nulls", 0, True, "0 (no null networks) or more"),
    "measures.n_components": ("--n-components", 2, True, "2 or more components"),
    "measures.dc_density": ("--dc-density", 0, False, "a share of all pairs, more than 0"),
    "group.equivalence_bound": ("--equivalence-bound", 0, False, "more than 0"),
    "group.max_mean_fd_mm": ("--max-mean-fd", 0, False, "more than 0 mm"),
    "group.n_permutations": ("--n-permutations", 1, True, "1 or more resamplings"),
    "group.cluster_threshold": ("--cluster-threshold", 0, False, "a p between 0 and 0.5"),
    "run.n_cpus": ("--n-cpus", 1, True, "1 or more"),
    "run.omp_nthreads": ("--omp-nthreads", 1, True, "1 or more"),
    "run.mem_gb": ("--mem", 0, False, "more than 0"),
    "run.random_seed": ("--random-seed", 0, True, "0 or more"),
}

MODEL_FLAGS: Mapping[str, str] = {
    "contrast": "--contrast",
    "session_contrast": "--session-contrast",
    "regress": "--regress",
    "covariates": "--covariates",
    "pairs": "--pairs",
    "sites": "--sites",
    "variance_groups": "--variance-groups",
    "combat": "--combat",
    "group_column": "--group-column",
    "regions": "--regions",
    "equivalence_bound": "--equivalence-bound",
    "voxel_covariates": "--voxel-covariates",
}
"""What a model file says itself."""


def split_contrast(text: str) -> list[str]:
    """Return what a contrast names: two around ``>``, several around ``=``, or one.

    An empty list says that it is none.

    Examples
    --------
    >>> split_contrast("RLS > HC"), split_contrast("pre=post=late"), split_contrast("RLS")
    (['RLS', 'HC'], ['pre', 'post', 'late'], ['RLS'])
    >>> split_contrast("A > B > C"), split_contrast("A > A")
    ([], [])
    """
    pieces = [piece.strip() for piece in re.split("[>=]", text)]
    is_mixed = ">" in text and len(pieces) != len(("first", "second"))
    is_bad = is_mixed or not all(pieces) or len(set(pieces)) < len(pieces)
    return [] if is_bad else pieces
