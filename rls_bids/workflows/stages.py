"""What each stage of the road writes, under which names, and the fingerprint that makes it valid.

A stage is finished when every product lies in the output directory with the stage's fingerprint
in its sidecar. The builders leave finished stages out, so that a second run recomputes nothing,
with or without the work directory.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rls_bids.dataset import naming
from rls_bids.dataset.description import fingerprint
from rls_bids.measures import MEASURES
from rls_bids.records import (
    Anatomy,
    BoldRun,
    PreparedAnatomy,
    PreparedRun,
    Seed,
    Session,
    Template,
)
from rls_bids.settings import AnatSettings, Settings
from rls_bids.workflows.local import local_stages
from rls_bids.workflows.matrices import AtlasStages, atlas_stages
from rls_bids.workflows.metadata import (
    ANAT_VERSION,
    AVERAGE_VERSION,
    preprocessing_of,
    processing_of,
)
from rls_bids.workflows.nuisance import VERSION as NUISANCE_VERSION
from rls_bids.workflows.nuisance import check_columns, design_parameters
from rls_bids.workflows.prepared_stages import prepared_anat_stage, prepared_stage
from rls_bids.workflows.quality import quality_stage
from rls_bids.workflows.run_stages import run_stage
from rls_bids.workflows.seeds import seed_stages
from rls_bids.workflows.stage import (
    Place,
    Product,
    Stage,
    anat_place,
    common_entities,
    local_place,
    make_product,
    place_of,
    session_place,
)

__all__ = [
    "TISSUES",
    "Place",
    "Product",
    "SessionStages",
    "Stage",
    "anat_place",
    "anat_stage",
    "place_of",
    "stages_of",
]

TISSUES = ("GM", "WM", "CSF")
MODULATED = (
    "Amount of grey matter: its probability on the standard grid times the volume that each voxel "
    "has in the T1w image."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStages:
    """Every stage of one session: runs, designs by strategy and run, maps by strategy and name.

    ``local_place`` is the grid of the local measures, ``None`` where there are none;
    ``seeds_figure`` is empty where there is no T1w image to draw seeds on.
    """

    place: Place
    anat: Stage
    runs: tuple[Stage, ...]
    quality: tuple[Stage, ...]
    designs: Mapping[str, tuple[Stage, ...]]
    seeds: Mapping[str, Mapping[str, Stage]]
    local: Mapping[str, Mapping[str, Stage]]
    atlases: Mapping[str, Mapping[str, AtlasStages]]
    local_place: Place | None
    seeds_figure: str


def anat_stage(
    anatomy: Anatomy, anat: AnatSettings, template: Template, place: Place, seed: int
) -> Stage:
    """Return what the anatomical stage of one T1w image writes."""
    stamp = fingerprint(
        content=anatomy.content,
        settings=asdict(anat) | {"resolution": place.resolution},
        template=template.sha256,
        version=f"{ANAT_VERSION}-{AVERAGE_VERSION}" if anatomy.others else ANAT_VERSION,
        random_seed=seed,
    )
    owner = (anatomy.participant, anatomy.session)
    sources = [anatomy.t1w, *anatomy.others]
    products = []

    def add(
        key: str, name: str, description: str, entities: dict[str, str], **extra: object
    ) -> None:
        path = naming.derivative(name, *owner, **entities)
        products.append(make_product(place, stamp, key, path, description, sources, **extra))

    for suffix, entities in (("", {}), ("_std", place.std)):
        where = " on the standard grid" if suffix else ""
        add(f"t1w{suffix}", "t1w", f"Bias-corrected T1w image{where}.", entities)
        add(f"mask{suffix}", "t1w_mask", f"Brain mask{where}.", entities, Type="Brain")
        add(f"dseg{suffix}", "dseg", f"Tissue labels{where}: 1 GM, 2 WM, 3 CSF.", entities)
        for tissue in TISSUES:
            add(
                f"{tissue}{suffix}",
                "probseg",
                f"Probability of {tissue}{where}.",
                {**entities, "label": tissue},
            )
    add("modulated", "modulated", MODULATED, {**place.std, "label": "GM"})
    add(
        "t1w_to_std",
        "t1w_to_std_xfm",
        "Resamples the T1w image onto the template.",
        {"to": place.space},
    )
    add(
        "std_to_t1w",
        "std_to_t1w_xfm",
        "Resamples the template onto the T1w image.",
        {"from_": place.space},
    )
    figures = tuple(
        naming.figure(*owner, what) for what in ("brainmask", "tissue", "normalization")
    )
    return Stage(fingerprint=stamp, products=tuple(products), figures=figures)


def design_stage(
    session: Session,
    run: BoldRun | PreparedRun,
    strategy: str,
    before: Stage,
    place: Place,
    settings: Settings,
) -> Stage:
    """Return what nuisance regression of one run of a session with one strategy writes."""
    parameters = design_parameters(settings.denoise, strategy)
    stamp = fingerprint(before=before.fingerprint, settings=parameters, version=NUISANCE_VERSION)
    if isinstance(run, BoldRun):
        check_columns(settings.denoise, strategy)
    owner = (run.participant, run.session)
    entities: dict[str, Any] = {**dict(run.entities), "denoise": naming.camel_label(strategy)}
    confounds_file = f"{place.output_dir}/{before.product('confounds').path}"
    products = [
        make_product(
            place,
            stamp,
            "design",
            naming.derivative("design", *owner, **entities),
            "The regressors as fitted: filtered, at the kept volumes.",
            [confounds_file],
        )
    ]
    if settings.run.level == "full":
        products.append(
            make_product(
                place,
                stamp,
                "denoised_bold",
                naming.derivative(
                    "denoised_bold", run.participant, run.session, **entities, **place.std
                ),
                "Residuals at the kept volumes after nuisance regression, unsmoothed.",
                [*run.images, confounds_file],
                SkullStripped=True,
                RepetitionTime=run.repetition_time,
                Processing={
                    "Preprocessing": preprocessing_of(session),
                    **processing_of(settings, strategy, place.size_mm, session.runs),
                    "SmoothingFwhmMm": 0.0,
                },
            )
        )
    figures = tuple(naming.figure(*owner, what, **entities) for what in ("carpet", "loadings"))
    return Stage(fingerprint=stamp, products=tuple(products), figures=figures)


def _local_place(session: Session, settings: Settings) -> Place | None:
    """Return the grid of the local measures, if any were asked for."""
    is_asked = any(MEASURES[name].kind == "local" for name in settings.measures.names)
    return local_place(session, settings) if is_asked else None


def stages_of(
    session: Session, settings: Settings, template: Template, seeds: Mapping[str, Seed]
) -> SessionStages:
    """Return every stage of one session."""
    place, on_local = session_place(session, settings), _local_place(session, settings)
    seed, anatomy = settings.run.random_seed, session.anatomy
    if isinstance(anatomy, PreparedAnatomy):
        anat = prepared_anat_stage(anatomy)
    else:
        anat = anat_stage(anatomy, settings.anat, template, anat_place(settings), seed)
    runs = tuple(
        prepared_stage(run, anat, place, settings)
        if isinstance(run, PreparedRun)
        else run_stage(run, anat, place, on_local, settings)
        for run in session.runs
    )
    designs = {
        strategy: tuple(
            design_stage(session, run, strategy, stage, place, settings)
            for run, stage in zip(session.runs, runs, strict=True)
        )
        for strategy in settings.denoise.strategies
    }
    shared: dict[str, Any] = dict(common_entities(session))
    figure = naming.figure(session.participant, session.session, "seeds", **shared)
    return SessionStages(
        place=place,
        anat=anat,
        runs=runs,
        quality=tuple(
            quality_stage(run, stage, seeds, place, settings)
            for run, stage in zip(session.runs, runs, strict=True)
        ),
        designs=designs,
        seeds={
            strategy: seed_stages(session, strategy, seeds, stages, place, settings)
            for strategy, stages in designs.items()
        },
        local={
            strategy: local_stages(session, strategy, stages, on_local, settings)
            for strategy, stages in designs.items()
        },
        local_place=on_local,
        atlases={
            strategy: atlas_stages(session, strategy, stages, place, settings)
            for strategy, stages in designs.items()
        },
        seeds_figure=figure if anatomy.t1w else "",
    )
