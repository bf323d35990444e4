"""What each stage of the road writes, under which names, and the fingerprint that makes it valid.

A stage is finished when every product lies in the output directory with the stage's fingerprint
in its sidecar. The builders leave finished stages out, so that a second run recomputes nothing,
with or without the work directory.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rls_bids.dataset import naming
from rls_bids.dataset.description import fingerprint
from rls_bids.dataset.fieldmaps import fieldmap_files
from rls_bids.measures import MEASURES
from rls_bids.numerics import correlation, resample
from rls_bids.records import (
    Anatomy,
    BoldRun,
    Entities,
    PreparedAnatomy,
    PreparedRun,
    Seed,
    Session,
    Template,
)
from rls_bids.settings import AnatSettings, Settings
from rls_bids.workflows.metadata import (
    ANAT_VERSION,
    AVERAGE_VERSION,
    PREPROCESSING,
    distortion_of,
    echoes_of,
    preprocessing_of,
    processing_of,
    seed_metadata,
    timing_of,
)
from rls_bids.workflows.nuisance import VERSION as NUISANCE_VERSION
from rls_bids.workflows.nuisance import check_columns, design_parameters, motion_filter_of
from rls_bids.workflows.prepared_stages import prepared_anat_stage, prepared_stage
from rls_bids.workflows.quality import quality_stage
from rls_bids.workflows.stage import Place, Product, Stage, make_product, place_of

__all__ = [
    "TISSUES",
    "Place",
    "Product",
    "SessionStages",
    "Stage",
    "anat_stage",
    "place_of",
    "stages_of",
]

TISSUES = ("GM", "WM", "CSF")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStages:
    """Every stage of one session: runs, designs by strategy and run, maps by strategy and seed.

    ``seeds_figure`` is empty where there is no T1w image to draw seeds on.
    """

    anat: Stage
    runs: tuple[Stage, ...]
    quality: tuple[Stage, ...]
    designs: Mapping[str, tuple[Stage, ...]]
    seeds: Mapping[str, Mapping[str, Stage]]
    seeds_figure: str


def anat_stage(
    anatomy: Anatomy, anat: AnatSettings, template: Template, place: Place, seed: int
) -> Stage:
    """Return what the anatomical stage of one T1w image writes."""
    stamp = fingerprint(
        content=anatomy.content,
        settings=asdict(anat),
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


def run_stage(run: BoldRun, anat: Stage, settings: Settings) -> Stage:
    """Return what preprocessing of one BOLD run writes."""
    place = place_of(settings)
    stamp = fingerprint(
        anat=anat.fingerprint,
        content=run.content,
        repetition_time=run.repetition_time,
        slice_timing=run.slice_timing,
        slice_encoding_direction=run.slice_encoding_direction,
        dummy_scans=run.dummy_scans,
        settings=asdict(settings.bold),
        fd_threshold_mm=settings.denoise.fd_threshold_mm,
        motion_filter=motion_filter_of(settings.denoise),
        versions=[kernel.VERSION for kernel in PREPROCESSING],
    )
    owner = (run.participant, run.session)
    entities: dict[str, Any] = dict(run.entities)
    sources = [
        *run.images,
        *(*fieldmap_files(run.fieldmap), *([run.sbref] if run.sbref else [])),
        f"{place.output_dir}/{anat.product('t1w').path}",
    ]
    told = timing_of(run, settings.bold) | distortion_of(run) | echoes_of(run)
    level_full: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
        (
            "preproc_bold",
            "Preprocessed BOLD series on the standard grid, inside the brain.",
            place.std,
            {"SkullStripped": True, "RepetitionTime": run.repetition_time, **told},
        )
    ]
    products = tuple(
        make_product(
            place,
            stamp,
            key,
            naming.derivative(key, run.participant, run.session, **entities, **std),
            description,
            sources,
            **extra,
        )
        for key, description, std, extra in (
            *_run_products(place, told, run),
            *(level_full if settings.run.level == "full" else ()),
        )
    )
    names = ["coregistration", "motion", *(["distortion"] if run.fieldmap else [])]
    figures = tuple(naming.figure(*owner, what, **entities) for what in names)
    return Stage(fingerprint=stamp, products=products, figures=figures)


def _run_products(
    place: Place, told: dict[str, object], run: BoldRun
) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Yield key, description, entities of the grid and more metadata of each product of a run."""
    yield (
        "boldref",
        (
            "Single-band reference, aligned to the mean after head motion correction"
            if run.sbref
            else "Mean of the volumes after head motion correction"
        )
        + (", distortion taken off." if told["DistortionCorrection"] else "."),
        {},
        {"SkullStripped": False, "DistortionCorrection": told["DistortionCorrection"]},
    )
    yield "hmc_xfm", "Head motion: one rigid transform a volume.", {}, {}
    yield (
        "boldref_to_t1w_xfm",
        "Rigid coregistration of the BOLD reference to the T1w image.",
        {},
        {},
    )
    yield (
        "boldref_std",
        "Temporal mean on the standard grid, inside the brain.",
        place.std,
        {"SkullStripped": True},
    )
    yield (
        "bold_mask_std",
        "Brain voxels inside the field of view of every volume.",
        place.std,
        {"Type": "Brain"},
    )
    yield "confounds", "Confounding time series.", {}, told
    yield "outliers", "Volumes that exceed the motion threshold: one column each.", {}, {}


def design_stage(
    run: BoldRun | PreparedRun, strategy: str, before: Stage, settings: Settings
) -> Stage:
    """Return what nuisance regression of one run with one strategy writes."""
    place = place_of(settings)
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
            )
        )
    figures = tuple(naming.figure(*owner, what, **entities) for what in ("carpet", "loadings"))
    return Stage(fingerprint=stamp, products=tuple(products), figures=figures)


def common_entities(session: Session) -> Entities:
    """Return what all runs of a session share in their names: the name of their combination."""
    shared = set(session.runs[0].entities).intersection(*(run.entities for run in session.runs))
    return tuple(sorted(pair for pair in shared if pair[0] != "run"))


def seed_stage(
    session: Session,
    strategy: str,
    seed: Seed,
    members: Sequence[Seed],
    designs: Sequence[Stage],
    settings: Settings,
) -> Stage:
    """Return what seed connectivity of one seed writes, combined over the runs of a session."""
    place = place_of(settings)
    measure = MEASURES["seed"]
    stamp = fingerprint(
        designs=[design.fingerprint for design in designs],
        seed=asdict(seed),
        members=[asdict(member) for member in members],
        versions=[measure.version, correlation.VERSION, resample.VERSION],
    )
    owner = (session.participant, session.session)
    shared: dict[str, Any] = dict(common_entities(session))
    entities = {
        **shared,
        **place.std,
        "denoise": naming.camel_label(strategy),
        "seed": naming.camel_label(seed.name),
    }
    products = tuple(
        make_product(
            place,
            stamp,
            stat,
            naming.derivative("seed_map", *owner, **entities, stat=stat),
            f"Connectivity of {seed.name} with every voxel ({stat}).",
            [image for run in session.runs for image in run.images],
            SkullStripped=True,
            Seed=seed_metadata(seed, members),
            Processing={
                "Preprocessing": preprocessing_of(session),
                **processing_of(settings, strategy, session.runs),
            },
        )
        for stat in measure.stats
    )
    figure = naming.figure(
        *owner,
        "seedmap",
        **shared,
        denoise=entities["denoise"],
        seed=entities["seed"],
    )
    return Stage(fingerprint=stamp, products=products, figures=(figure,))


def stages_of(
    session: Session, settings: Settings, template: Template, seeds: Mapping[str, Seed]
) -> SessionStages:
    """Return every stage of one session."""
    place = place_of(settings)
    seed, anatomy = settings.run.random_seed, session.anatomy
    if isinstance(anatomy, PreparedAnatomy):
        anat = prepared_anat_stage(anatomy)
    else:
        anat = anat_stage(anatomy, settings.anat, template, place, seed)
    runs = tuple(
        prepared_stage(run, anat, settings)
        if isinstance(run, PreparedRun)
        else run_stage(run, anat, settings)
        for run in session.runs
    )
    designs = {
        strategy: tuple(
            design_stage(run, strategy, stage, settings)
            for run, stage in zip(session.runs, runs, strict=True)
        )
        for strategy in settings.denoise.strategies
    }
    maps = {
        strategy: {
            name: seed_stage(
                session, strategy, seed, [seeds[each] for each in seed.members], stages, settings
            )
            for name, seed in seeds.items()
        }
        for strategy, stages in designs.items()
    }
    shared: dict[str, Any] = dict(common_entities(session))
    figure = naming.figure(session.participant, session.session, "seeds", **shared)
    return SessionStages(
        anat=anat,
        runs=runs,
        quality=tuple(
            quality_stage(run, stage, seeds, settings)
            for run, stage in zip(session.runs, runs, strict=True)
        ),
        designs=designs,
        seeds=maps,
        seeds_figure=figure if anatomy.t1w else "",
    )
