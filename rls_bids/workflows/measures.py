"""The measure graph of one session and one strategy, over all its usable runs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe

from rls_bids.interfaces.denoise import SelectRuns
from rls_bids.interfaces.dualregression import DualRegression
from rls_bids.interfaces.figures import PlotSeedMaps
from rls_bids.interfaces.measure import SeedMaps
from rls_bids.records import Seed, Session, Template
from rls_bids.settings import Settings
from rls_bids.workflows.local import LOCAL_FIELDS
from rls_bids.workflows.seeds import NETWORK_VERSION, SEED_VERSION, needed_for
from rls_bids.workflows.sinks import manifest_sink, node_name
from rls_bids.workflows.stages import Place, Stage

RUN_FIELDS = ("denoised", "smoothed", "mask", "tsnr", "status")


def session_label(session: Session) -> str:
    """Return how a session is called in messages."""
    labels = [f"sub-{session.participant}"]
    if session.session:
        labels.append(f"ses-{session.session}")
    return "_".join([*labels, f"task-{session.task}"])


def init_measures_wf(
    session: Session,
    strategy: str,
    stages: Mapping[str, Stage],
    seeds: Mapping[str, Seed],
    template: Template,
    place: Place,
    settings: Settings,
    *,
    name: str,
) -> pe.Workflow:
    """Build the seed maps of one session: one node a network, of its unfinished seeds only.

    Inputs
    ------
    denoised, smoothed, mask, tsnr, status : lists, one entry a run
    local_denoised, local_unfiltered, local_mask, sample_mask : the same for local measures, if any
    GM_std, WM_std, CSF_std : tissue probabilities on the standard grid
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(
        IdentityInterface([*RUN_FIELDS, *LOCAL_FIELDS, "GM_std", "WM_std", "CSF_std"]),
        name="inputnode",
    )
    select = pe.Node(
        SelectRuns(
            who=session_label(session),
            strategy=strategy,
            min_time_s=settings.denoise.min_time_s,
            min_df=settings.denoise.min_df,
        ),
        name="select_runs",
        run_without_submitting=True,
    )
    workflow.connect(inputnode, "status", select, "status")
    others = (field for field in (*RUN_FIELDS, *LOCAL_FIELDS) if field != "status")
    workflow.connect([(inputnode, select, [(field, field) for field in others])])
    networks = sorted({seeds[label].network for label in stages})
    for network in networks:
        chosen = [label for label in stages if seeds[label].network == network]
        _add_network(workflow, network, chosen, stages, seeds, template, place)
    return workflow


def _add_network(
    workflow: pe.Workflow,
    network: str,
    chosen: Sequence[str],
    stages: Mapping[str, Stage],
    seeds: Mapping[str, Seed],
    template: Template,
    place: Place,
) -> None:
    """Add the node, the sink and the figures of one network's seeds."""
    needed = [asdict(seeds[label]) for label in needed_for(chosen, seeds)]
    is_seed = seeds[chosen[0]].kind != "network"
    kind, version = (SeedMaps, SEED_VERSION) if is_seed else (DualRegression, NETWORK_VERSION)
    maps = pe.Node(
        kind(space=place.space, seeds=needed, wanted=sorted(chosen), version=version),
        name=node_name("seed", network),
        mem_gb=2,
    )
    products = {
        f"{label}:{product.key}": product for label in chosen for product in stages[label].products
    }
    sink = manifest_sink(products, place, name=node_name("ds", network))
    plots = pe.Node(
        PlotSeedMaps(
            template=template.brain,
            seeds=needed,
            base_dir=place.output_dir,
            paths={label: stages[label].figures[0] for label in chosen},
        ),
        name=node_name("figure", network),
        mem_gb=1,
    )
    select, inputnode = workflow.get_node("select_runs"), workflow.get_node("inputnode")
    tissues = [(f"{tissue}_std", f"{tissue}_std") for tissue in ("GM", "WM", "CSF")]
    workflow.connect(
        [
            (select, maps, [(field, field) for field in RUN_FIELDS]),
            *([(inputnode, maps, tissues)] if is_seed else []),
            (maps, sink, [("manifest", "manifest")]),
            (maps, plots, [("manifest", "manifest")]),
        ]
    )
