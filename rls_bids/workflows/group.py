"""The group graph: one general linear model a seed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from nipype.pipeline import engine as pe

from rls_bids.dataset import naming
from rls_bids.dataset.description import bids_uri
from rls_bids.interfaces.figures import PlotGroupMap
from rls_bids.interfaces.group import FitGroupMaps
from rls_bids.interfaces.sink import WriteDerivative, WriteManifest
from rls_bids.numerics import glm
from rls_bids.records import GroupInput, Seed
from rls_bids.workflows.sinks import node_name

MAPS = (
    ("effect", None, "First minus second group: difference of mean Fisher z, adjusted."),
    ("variance", None, "Squared standard error of the effect."),
    ("t", None, "t statistic of the contrast."),
    ("z", None, "z value with the tail probability of t."),
    ("p", "uncorrected", "Two-sided p value of t, not corrected."),
    ("p", "fdr", "p value adjusted for the false discovery rate over this map's voxels."),
    ("hedgesg", None, "Hedges g from the adjusted t, corrected for small samples."),
    ("hedgesg", "ciLower", "Lower 95 % confidence limit of Hedges g (noncentral t)."),
    ("hedgesg", "ciUpper", "Upper 95 % confidence limit of Hedges g (noncentral t)."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedModel:
    """One seed's model: its inputs in the order of the rows of `design_file`.

    `seed` is the label in file names; `seeds` the records of its members and, last, itself.
    """

    seed: str
    seeds: tuple[Seed, ...]
    inputs: tuple[GroupInput, ...]
    design_file: str
    contrast: tuple[float, ...]
    n_first: int
    n_second: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupNames:
    """What the names of all results of one call share, and where they go."""

    output_dir: str
    work_dir: str
    template: str
    model: str
    contrast: str
    title: str
    entities: dict[str, str]


def map_key(stat: str, desc: str | None) -> str:
    """Return how a map is called in the manifest.

    Examples
    --------
    >>> map_key("p", "fdr"), map_key("t", None)
    ('p_fdr', 't')
    """
    return f"{stat}_{desc}" if desc else stat


def init_group_wf(models: Sequence[SeedModel], names: GroupNames) -> pe.Workflow:
    """Build one model, sink and figure a seed; seeds do not wait for each other."""
    workflow = pe.Workflow(name=node_name("group", names.model), base_dir=names.work_dir)
    for model in models:
        _add_seed(workflow, model, names)
    return workflow


def _add_seed(workflow: pe.Workflow, model: SeedModel, names: GroupNames) -> None:
    """Add the nodes of one seed."""
    files = [each.path for each in model.inputs]
    fit = pe.Node(
        FitGroupMaps(
            in_files=files,
            design_file=model.design_file,
            contrast=list(model.contrast),
            n_first=model.n_first,
            n_second=model.n_second,
            version=glm.VERSION,
        ),
        name=node_name("glm", model.seed),
        mem_gb=2,
    )
    plot = pe.Node(
        PlotGroupMap(
            template=names.template,
            title=f"{model.seeds[-1].name}: {names.title}",
            seeds=[asdict(seed) for seed in model.seeds],
        ),
        name=node_name("figure", model.seed),
        mem_gb=1,
    )
    maps, clusters, figure = _make_sinks(model, names)
    workflow.connect(
        [
            (fit, maps, [("manifest", "manifest")]),
            (fit, clusters, [("clusters", "in_file")]),
            (fit, plot, [("manifest", "manifest")]),
            (plot, figure, [("figure", "in_file")]),
        ]
    )


def _make_sinks(model: SeedModel, names: GroupNames) -> tuple[pe.Node, ...]:
    """Return the nodes that write the maps, the table and the figure of one seed."""
    common = {**names.entities, "seed": model.seed, "meas": "fisherz", "contrast": names.contrast}
    of_table = {key: value for key, value in common.items() if key not in {"space", "res"}}
    about = {
        "Model": names.title,
        "Sources": [
            bids_uri(each.path, names.output_dir, names.output_dir) for each in model.inputs
        ],
    }
    about_map = {
        **about,
        "NumberOfParticipants": [model.n_first, model.n_second],
        "SpatialReference": names.entities["space"],
        "Resolution": f"{names.entities['res']} mm isotropic",
        "SkullStripped": True,
    }
    keys = {map_key(stat, desc): (stat, desc, text) for stat, desc, text in MAPS}
    maps = WriteManifest(
        base_dir=names.output_dir,
        paths={
            key: naming.group_map(names.model, stat, desc=desc, **common)
            for key, (stat, desc, _) in keys.items()
        },
        metadata={key: {"Description": text, **about_map} for key, (*_, text) in keys.items()},
    )
    clusters = WriteDerivative(
        base_dir=names.output_dir,
        path=naming.group_table(names.model, "clusters", **of_table),
        metadata={
            "Description": "Local maxima of |t| among voxels of uncorrected p < .001.",
            **about,
        },
    )
    figure = WriteDerivative(
        base_dir=names.output_dir,
        path=naming.group_figure(names.model, "tmap", **common),
        metadata={},
    )
    named = (("ds", maps), ("ds_clusters", clusters), ("ds_figure", figure))
    return tuple(
        pe.Node(each, name=f"{prefix}_{node_name(model.seed)}", run_without_submitting=True)
        for prefix, each in named
    )
