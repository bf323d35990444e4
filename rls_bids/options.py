"""The options of the command line: one table, and the parser that it makes."""

import argparse
import sys
from typing import Any, Never

from rls_bids import __version__
from rls_bids.errors import UsageError
from rls_bids.settings.limits import LEVELS

PROGRAM = "rls_bids"
EPILOG = "Times are in s, lengths in mm, frequencies in Hz. Defaults are in parentheses."
REPEATED_FLAG = "{flag} is given more than once, but takes one value."
SEE_HELP = "See rls_bids --help."

MANY, TEXT, WHOLE, NUMBER = "many", "text", "whole", "number"
NUMBERS, PAIR = "numbers", "pair"
ON, OFF, MAYBE = "on", "off", "maybe"
POSITIONALS = ("BIDS_DIR", "OUTPUT_DIR", "{participant,group}")

# (flags, setting, kind, what --help shows as the value, help). Dotted names are settings; what
# starts with "ignored." is taken so that scripts for other BIDS Apps work.
OPTIONS: dict[str, tuple[tuple[str, str, str, str, str], ...]] = {
    "selection": (
        ("--participant-label", "input.participant_labels", MANY, "LABEL", "participants (all)"),
        ("--exclude-participant-label", "input.exclude_participant_labels", MANY, "LABEL",
         "participants to leave out (none)"),
        ("--session-label --session-id", "input.session_labels", MANY, "LABEL", "sessions (all)"),
        ("--by-session", "input.by_session", ON, "",
         "each session alone: its own T1w images only, and a page of its own"),
        ("-t --task-id", "input.task_ids", MANY, "LABEL", "tasks (rest)"),
        ("--run-id", "input.run_ids", MANY, "LABEL", "runs (all)"),
        ("--bids-filter-file", "input.bids_filter_file", TEXT, "FILE.json",
         "which files the queries t1w and bold find"),
        ("--bids-database-dir", "input.bids_database_dir", TEXT, "DIR",
         "where the index of the input is kept and found again (not kept)"),
        ("--skip-bids-validation", "ignored.bids_validation", ON, "",
         "accepted; the validator is never run, what is needed is checked anyway"),
    ),
    "input": (
        ("-d --derivatives", "input.derivatives", MANY, "[NAME=]PATH",
         "fMRIPrep outputs to start from, instead of preprocessing (none)"),
    ),
    "resources": (
        ("--n-cpus --nprocs --nthreads", "run.n_cpus", WHOLE, "N",
         "CPUs for everything (those of the allocation)"),
        ("--omp-nthreads", "run.omp_nthreads", WHOLE, "N",
         "threads of one process (one less than CPUs, at most 8)"),
        ("--mem --mem-mb", "run.mem_gb", TEXT, "SIZE",
         "memory for everything: a number is MB, else with K, M, G or T (of the allocation)"),
        ("-w --work-dir", "run.work_dir", TEXT, "DIR", "scratch folder (work)"),
        ("--clean-workdir", "run.clean_workdir", ON, "",
         "empty the scratch folders of these participants first"),
        ("--nipype-plugin-file --use-plugin", "run.plugin_file", TEXT, "FILE",
         "TOML, JSON or YAML file with another nipype plugin"),
        ("--resource-monitor", "run.resource_monitor", ON, "", "record CPU and memory of nodes"),
    ),
    "preprocessing": (
        ("--output-spaces", "anat.output_spaces", MANY, "SPACE[:res-{1,2,native}]",
         "standard space and voxel size; T1w beside it also writes what preprocessing makes in "
         "the space of the T1w image (MNI152NLin2009cAsym:res-2)"),
        ("--dummy-scans", "bold.dummy_scans", WHOLE, "N",
         "volumes to drop at the start (those brighter than the steady state)"),
        ("--ignore", "bold.ignore", MANY, "{fieldmaps,fmap-jacobian,slicetiming,sbref}",
         "steps to leave out (none)"),
        ("--skull-strip-t1w", "anat.skull_strip", TEXT, "{auto,skip,force}",
         "auto: leave it out where the image has no skull (auto)"),
        ("--anat-only", "run.anat_only", ON, "", "stop after the T1w image"),
        ("--sloppy", "anat.sloppy", ON, "", "fast and inaccurate, for tests"),
    ),
    "denoising": (
        ("-p --nuisance-regressors", "denoise.strategies", MANY,
         "{acompcor,acompcor_gsr,24P,36P,6P,none,FILE.yaml}[:nocensor]",
         "strategies, each with outputs of its own; a file lists columns; :nocensor keeps every "
         "volume (acompcor)"),
        ("--lower-bpf", "denoise.low_hz", NUMBER, "HZ", "lower edge of the band (0.01)"),
        ("--upper-bpf", "denoise.high_hz", NUMBER, "HZ", "upper edge of the band (0.1)"),
        ("--bpf-order", "denoise.filter_order", WHOLE, "N", "order of the Butterworth filter (2)"),
        ("--disable-bandpass-filter", "denoise.band_pass", OFF, "", "no band-pass"),
        ("-f --fd-thresh", "denoise.fd_threshold_mm", NUMBER, "MM",
         "censor volumes with more framewise displacement; 0 censors none (0.5)"),
        ("--motion-filter-type", "denoise.motion_filter", TEXT, "{notch,lp}",
         "take breathing out of the motion parameters before displacement (off)"),
        ("--band-stop-min", "denoise.band_stop_min_bpm", NUMBER, "N",
         "lower edge of the notch, or highest frequency that lp keeps, breaths/min"),
        ("--band-stop-max", "denoise.band_stop_max_bpm", NUMBER, "N",
         "upper edge of the notch, breaths/min"),
        ("--motion-filter-order", "denoise.motion_filter_order", WHOLE, "N",
         "order of the motion filter, even (4)"),
        ("--min-time", "denoise.min_time_s", NUMBER, "S", "least time left after censoring (240)"),
        ("--min-df", "denoise.min_df", WHOLE, "N", "least residual degrees of freedom (20)"),
        ("--smoothing", "denoise.smoothing_fwhm_mm", NUMBER, "MM", "FWHM of the kernel (6)"),
    ),
    "measures": (
        ("--measures", "measures.names", MANY, "NAME",
         "which measures (all of --list-measures but ica, which is for the group level, alone)"),
        ("--alff-band", "measures.alff_band", PAIR, "HZ", "band of ALFF and fALFF (0.01 0.08)"),
        ("--dc-threshold", "measures.dc_threshold", NUMBER, "R",
         "correlation above which voxels are connected (0.25)"),
        ("--graph-densities", "measures.graph_densities", NUMBERS, "SHARE",
         "densities of the graphs (0.05 to 0.4 in steps of 0.05)"),
        ("--graph-thresholds", "measures.graph_thresholds", NUMBERS, "R",
         "fixed correlations that edges exceed, beside the densities (none)"),
        ("--graph-weighting", "measures.graph_weighting", MANY, "{binary,weighted}",
         "kinds of graphs (binary)"),
        ("--graph-negative", "measures.graph_negative", TEXT, "{drop,absolute,apart}",
         "what becomes of negative correlations (drop)"),
        ("--graph-metrics", "measures.graph_metrics", TEXT, "{core,all}",
         "all: with small-world omega and propensity (core)"),
        ("--graph-nulls", "measures.graph_nulls", TEXT, "{rewired,correlated}",
         "null networks: rewired graphs, or graphs of random matrices (rewired)"),
        ("--n-nulls", "measures.n_nulls", WHOLE, "N", "null networks a density (100)"),
        ("--dc-density", "measures.dc_density", NUMBER, "SHARE",
         "share of all pairs that is connected, for the degrees at one density (0.05)"),
        ("--seeds", "measures.seeds_file", TEXT, "FILE", "JSON or TSV file of seeds (our own)"),
        ("--seed-networks", "measures.seed_networks", MANY, "NAME",
         "networks whose seeds are computed, gorges (seven networks), or all (those that "
         "--list-seeds marks as default)"),
        ("--seed-series", "measures.seed_series", TEXT, "{mean,eigenvariate}",
         "series of a seed: mean of its voxels or first principal component (mean)"),
        ("--seed-regression", "measures.seed_regression", TEXT, "{separate,together}",
         "together: semi-partial, each seed given the others of its network (separate)"),
        ("--network-maps", "measures.network_maps", TEXT, "FILE",
         "network maps for dual regression, or templates for ica, 4D or labels, with space- in "
         "the name (none)"),
        ("--n-components", "measures.n_components", WHOLE, "N", "components of group ICA (12)"),
        ("--atlases", "measures.atlases", MANY, "NAME",
         "atlases for time series and matrices, label images with a table, or none (Seitzman300)"),
    ),
    "group": (
        ("--model", "group.model_file", TEXT, "FILE.json",
         "BIDS Stats Models file, instead of the flags from here to --sites"),
        ("--contrast", "group.contrast", MANY, "'A > B'",
         "groups: a difference, 'A = B = C' (tested together), or the mean of one 'A' (the two "
         "of the table)"),
        ("--group-column", "group.group_column", TEXT, "NAME",
         "column of participants.tsv with the group (group)"),
        ("--covariates", "group.covariates", MANY, "NAME",
         "columns of participants.tsv, mean_fd, or none (age sex mean_fd)"),
        ("--session-contrast", "group.session_contrast", MANY, "'B > A'",
         "sessions, or levels of a column of sessions.tsv as in 'time.evening > time.morning'; "
         "with groups: their difference of it (none)"),
        ("--regress", "group.regress", TEXT, "NAME",
         "regression of the patients on a column, instead of a contrast of groups (none)"),
        ("--pairs", "group.pairs", TEXT, "NAME", "column with the label of matched pairs (none)"),
        ("--variance-groups", "group.variance_groups", MAYBE, "NAME",
         "groups whose variances may differ, those of the column or of --group-column (equal)"),
        ("--voxel-covariates", "group.voxel_covariates", MANY, "{grey_matter,baseline}",
         "covariates of each voxel of maps: modulated grey matter, the map before (none)"),
        ("--sites", "group.sites", TEXT, "NAME",
         "column with the site, a covariate and a block, or none (site, where there are several)"),
        ("--combat", "group.combat", MAYBE, "NAME",
         "harmonise tables of values and of graphs (not maps) over sites with ComBat: the column, "
         "or site (off)"),
        ("--regions", "group.regions", MANY, "NAME",
         "regions, atlas:label or mask images, whose means are compared, too (none)"),
        ("--equivalence-bound", "group.equivalence_bound", NUMBER, "D",
         "standardised effect under which nothing matters, tested in regions (none)"),
        ("--max-mean-fd", "group.max_mean_fd_mm", NUMBER, "MM",
         "leave out participants with more mean framewise displacement (off)"),
        ("--n-permutations", "group.n_permutations", WHOLE, "N",
         "resamplings; all there are where these are fewer (5000)"),
        ("--matrix-measures", "group.matrix_measures", MANY,
         "{pearsoncorrelation,partialcorrelation,tangent}",
         "matrices to compare connection by connection (pearsoncorrelation)"),
        ("--graph-covariate", "group.graph_covariate", TEXT, "{none,mean_r}",
         "mean_r: test graph metrics also with the mean correlation as covariate (none)"),
        ("--seed-covariate", "group.seed_covariate", TEXT, "{none,grey_matter}",
         "grey_matter: adjust maps of a seed for the amount of it in the seed's region (none)"),
        ("--correction", "group.correction", TEXT, "{tfce,cluster,voxel,fdr}",
         "how maps are corrected: tfce makes all, fdr resamples nothing (tfce)"),
        ("--cluster-threshold", "group.cluster_threshold", NUMBER, "P",
         "two-sided p of the z that forms clusters (0.001)"),
        ("--random-seed", "run.random_seed", WHOLE, "N", "start of all random numbers (0)"),
    ),
    "running": (
        ("--dry-run", "run.dry_run", ON, "", "print what would be done with which files"),
        ("--stop-on-first-crash", "run.stop_on_first_crash", ON, "", "stop at the first failure"),
        ("--reports-only", "run.reports_only", ON, "", "write the pages again, compute nothing"),
        ("--boilerplate-only", "run.boilerplate_only", ON, "", "write the methods text only"),
        ("--level", "run.level", TEXT, "{minimal,full}", "full also writes the series (minimal)"),
        ("--config-file", "config_file", TEXT, "FILE.toml",
         "settings of an earlier run; the command line wins"),
        ("--write-graph", "run.write_graph", ON, "", "write the graph of the workflow"),
        ("--notrack", "ignored.notrack", ON, "", "accepted; nothing is ever sent"),
    ),
}  # fmt: skip


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Never:
        """Raise instead of ending the process."""
        sentence = message[0].upper() + message[1:].rstrip(".") + "."
        raise UsageError(sentence, SEE_HELP)


class _Once(argparse.Action):
    """Store one value, and refuse a second."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 argparse's signature
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        if hasattr(namespace, self.dest):
            raise UsageError(REPEATED_FLAG.format(flag=option_string))
        setattr(namespace, self.dest, values)


class _ListMeasures(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from rls_bids.measures import MEASURES

        for measure in MEASURES.values():
            sys.stdout.write(f"{measure.name}: {measure.caption}\n")
        parser.exit()


class _ListSeeds(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from rls_bids.resources import list_seeds

        sys.stdout.write(list_seeds())
        parser.exit()


class _ListAtlases(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from rls_bids.resources.atlases import list_atlases

        sys.stdout.write(list_atlases())
        parser.exit()


def make_parser() -> argparse.ArgumentParser:
    """Make the parser; its namespace has the dotted names of what was given, and nothing else.

    Returns
    -------
    argparse.ArgumentParser
    """
    parser = _Parser(
        prog=PROGRAM,
        description="Functional connectivity in restless legs syndrome: BIDS in, maps out.",
        epilog=EPILOG,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    add = parser.add_argument
    add("input.bids_dir", metavar=POSITIONALS[0], help="raw BIDS data set")
    add("input.output_dir", metavar=POSITIONALS[1], help="where everything is written")
    add("analysis_level", metavar=POSITIONALS[2], choices=LEVELS, help="which level to run")
    add("--version", action="version", version=f"{PROGRAM} {__version__}")
    add("--list-measures", action=_ListMeasures, nargs=0, help="print the measures and exit")
    add("--list-seeds", action=_ListSeeds, nargs=0, help="print the seeds and exit")
    add("--list-atlases", action=_ListAtlases, nargs=0, help="print the atlases and exit")
    add("-v", "--verbose", dest="run.verbosity", action="count", help="say more (repeat it)")
    kinds: dict[str, dict[str, Any]] = {
        MANY: {"nargs": "+", "action": "extend"},
        TEXT: {"action": _Once},
        WHOLE: {"action": _Once, "type": int},
        NUMBER: {"action": _Once, "type": float},
        NUMBERS: {"nargs": "+", "action": "extend", "type": float},
        PAIR: {"action": _Once, "type": float, "nargs": 2},
        MAYBE: {"action": _Once, "nargs": "?", "const": ""},
        ON: {"action": "store_const", "const": True},
        OFF: {"action": "store_const", "const": False},
    }
    for title, options in OPTIONS.items():
        group = parser.add_argument_group(title)
        for flags, setting, kind, shown, text in options:
            value: dict[str, Any] = {"metavar": shown} if shown else {}
            group.add_argument(*flags.split(), dest=setting, help=text, **kinds[kind], **value)
    return parser
