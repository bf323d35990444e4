"""The quality table of one run: its stage and its node."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe

from rls_bids.dataset import naming
from rls_bids.dataset.description import fingerprint
from rls_bids.interfaces.quality import MeasureQuality
from rls_bids.numerics import quality
from rls_bids.records import BoldRun, PreparedRun, Seed, Template
from rls_bids.settings import DenoiseSettings, Settings
from rls_bids.workflows.sinks import add_sink
from rls_bids.workflows.stage import Place, Stage, make_product


def _regions(seeds: Mapping[str, Seed]) -> list[dict[str, Any]]:
    """Return the records of all seeds but network maps, which cover much of the brain."""
    return [asdict(seed) for seed in seeds.values() if seed.kind != "network"]


def quality_stage(
    run: BoldRun | PreparedRun,
    before: Stage,
    seeds: Mapping[str, Seed],
    place: Place,
    settings: Settings,
) -> Stage:
    """Return the table of numbers by which a run is judged."""
    stamp = fingerprint(
        before=before.fingerprint,
        fd_threshold_mm=settings.denoise.fd_threshold_mm,
        seeds=_regions(seeds),
        version=quality.VERSION,
    )
    entities: dict[str, Any] = dict(run.entities)
    sources = [before.product(key).path for key in ("confounds", "bold_mask_std")]
    product = make_product(
        place,
        stamp,
        "quality",
        naming.derivative("quality", run.participant, run.session, **entities),
        "Numbers that tell how good the run is.",
        [f"{place.output_dir}/{source}" for source in sources],
    )
    return Stage(fingerprint=stamp, products=(product,))


def init_quality_wf(
    run: BoldRun | PreparedRun,
    stage: Stage,
    place: Place,
    template: Template,
    seeds: Mapping[str, Seed],
    denoise: DenoiseSettings,
    *,
    name: str,
) -> pe.Workflow:
    """Build the graph of one run's quality table.

    Inputs
    ------
    mask, tsnr, confounds : of the run; coregistration : how that went, where it was ours
    GM_std, mask_std : the anatomy
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(
        IdentityInterface(["mask", "tsnr", "confounds", "coregistration", "GM_std", "mask_std"]),
        name="inputnode",
    )
    node = pe.Node(
        MeasureQuality(
            template=template.brain,
            space=place.space,
            resolution=place.size_mm,
            repetition_time=run.repetition_time,
            fd_threshold_mm=denoise.fd_threshold_mm,
            seeds=_regions(seeds),
            version=quality.VERSION,
        ),
        name="quality",
        mem_gb=0.5,
    )
    same = [(key, key) for key in ("mask", "tsnr", "confounds", "coregistration")]
    workflow.connect([(inputnode, node, [*same, ("GM_std", "grey"), ("mask_std", "brain_std")])])
    sink = add_sink(workflow, stage.product("quality"), place, node, "table")
    workflow.connect(node, "metadata", sink, "metadata_file")
    return workflow
