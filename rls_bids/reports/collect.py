"""From files on disk to the page of a participant: what is there, what is missing, and why."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rls_bids import __version__
from rls_bids.dataset import naming
from rls_bids.measures import MEASURES
from rls_bids.records import Entities, Note, Seed
from rls_bids.reports.crashes import read_crashes
from rls_bids.reports.denoising import (
    designs_of,
    regressor_parts,
    strategy_figures,
    unused_words,
)
from rls_bids.reports.local import local_sections, matrix_sections
from rls_bids.reports.maps import seed_sections
from rls_bids.reports.methods import Facts, generators, methods_text
from rls_bids.reports.pages import ParticipantPage, Section, Table
from rls_bids.reports.quality import quality_notes, quality_table
from rls_bids.reports.results import Result, read_results
from rls_bids.reports.texts import (
    SBREF,
    anatomy_words,
    capitalised,
    figure_item,
    number,
    reference_words,
    run_title,
)
from rls_bids.resources.grids import resolution_words
from rls_bids.resources.seeds import seeds_asked
from rls_bids.settings import Settings

NOT_FINISHED = "its step did not finish; see “What was not done, and why”"
NO_RUN = "No BOLD run got through preprocessing; see “What was not done, and why”."
ANAT_ONLY = "Only the anatomy was asked for (--anat-only)."
PREPARED_ANATOMY = "The head was processed by {generator}, whose own report shows it."
PREPARED_RUN = "Preprocessed by {generator}; its own report shows coregistration and distortion."
SEED_MAP = "seed_map"
SESSION_PRODUCTS = (SEED_MAP, "local_map", "relmat", "graph")

RUN_COLUMNS = (
    ("Run", ""),
    ("Denoising", ""),
    ("TR (s)", "RepetitionTime"),
    ("Volumes", "NumberOfVolumes"),
    ("Kept", "NumberOfVolumesKept"),
    ("Minutes kept", "MinutesKept"),
    ("Mean FD (mm)", "MeanFramewiseDisplacement"),
    ("Max FD (mm)", "MaxFramewiseDisplacement"),
    ("Band dimensions", "BandDimensions"),
    ("Regressors", "NumberOfRegressors"),
    ("df left", "ResidualDegreesOfFreedom"),
)


def collect_participant(
    output_dir: str | Path,
    label: str,
    notes: Sequence[Note],
    settings: Settings,
    session: str | None = None,
) -> ParticipantPage:
    """Read what lies in the output directory and return the page of one participant.

    Parameters
    ----------
    output_dir : str or Path
        The derivatives' root.
    label : str
        Without ``sub-``.
    notes : sequence of Note
        What was left out, refused or failed, of this participant; ``where`` may be a crash file.
    settings : Settings
        Of this call.
    session : str, optional
        Only what is of this session (default: everything).

    Returns
    -------
    ParticipantPage
        Also when nothing was finished: figures that are missing are named with the reason.
    """
    root = Path(output_dir)
    unreadable: list[Note] = []
    found = read_results(root, label, unreadable)
    results = tuple(result for result in found if session in (None, result.session))
    seeds = seeds_asked(settings)
    sections = [_anatomy(root, label, results, session)]
    if settings.run.anat_only:
        sections.append(Section(anchor="runs", title="BOLD runs", text=(ANAT_ONLY,)))
    else:
        sections.append(_runs(root, label, results, settings))
        maps = [result for result in results if result.product == SEED_MAP]
        sessions = _sessions(results)
        sections += seed_sections(root, label, sessions, maps, seeds, settings)
        sections += local_sections(root, label, sessions, results)
        sections += matrix_sections(root, label, results)
    return ParticipantPage(
        label=label,
        version=__version__,
        summary=_summary(label, results, settings),
        notes=(*notes, *unreadable, *_quality_notes(label, results)),
        sections=tuple(sections),
        methods=methods_text(settings, _facts(results, seeds, settings)),
        crashes=tuple(read_crashes(root, f"sub-{naming.camel_label(label)}", notes, settings)),
        session=session,
    )


def _is_anatomy(result: Result) -> bool:
    return "task" not in result.entities


def _sessions(results: Iterable[Result]) -> dict[tuple[str | None, str], list[Entities]]:
    """Return the runs of each (session, task), in order."""
    runs: dict[tuple[str | None, str], list[Entities]] = {}
    for result in results:
        if _is_anatomy(result) or result.product in SESSION_PRODUCTS:
            continue
        found = runs.setdefault((result.session, result.entities["task"]), [])
        if result.run not in found:
            found.append(result.run)
    ordered = sorted(runs.items(), key=lambda item: (item[0][0] or "", item[0][1]))
    return {key: sorted(found) for key, found in ordered}


def _anatomy(root: Path, label: str, results: Sequence[Result], only: str | None) -> Section:
    """Return one part for each session that has an anatomy of its own."""
    made_by = _preprocessing(results)
    if made_by and not any(_is_anatomy(result) for result in results):
        text = PREPARED_ANATOMY.format(generator=" and ".join(made_by))
        return Section(anchor="anatomy", title="Anatomy", text=(text,))
    sessions = sorted(
        {result.session for result in results if _is_anatomy(result)}, key=lambda name: name or ""
    )
    parts = []
    for session in sessions or [only]:
        figures = tuple(
            figure_item(root, naming.figure(label, session, what), what, NOT_FINISHED)
            for what in ("brainmask", "tissue", "normalization")
        )
        title = f"Session {session}" if session else "T1w image"
        own = (r for r in results if (r.product, r.session, r.entities) == ("t1w", session, {}))
        told = tuple(words for result in own for words in anatomy_words(result.metadata))
        anchor = f"anatomy-{session or 'T1w'}"
        parts.append(Section(anchor=anchor, title=title, text=told, figures=figures))
    return Section(anchor="anatomy", title="Anatomy", parts=tuple(parts))


def _runs(root: Path, label: str, results: Sequence[Result], settings: Settings) -> Section:
    parts = tuple(
        _run(root, label, session, run, results, settings)
        for (session, _), runs in _sessions(results).items()
        for run in runs
    )
    text = () if parts else (NO_RUN,)
    return Section(anchor="runs", title="BOLD runs", text=text, parts=parts)


def _quality_notes(label: str, results: Sequence[Result]) -> Iterator[Note]:
    """Yield what the quality of each run warns of."""
    for quality in (result for result in results if result.product == "quality"):
        place = (quality.session, quality.run)
        coregistration = [
            result.metadata
            for result in results
            if result.product == "boldref_to_t1w_xfm" and (result.session, result.run) == place
        ]
        yield from quality_notes(
            label, *place, quality.metadata, coregistration[0] if coregistration else {}
        )


def _run(
    root: Path,
    label: str,
    session: str | None,
    run: Entities,
    results: Sequence[Result],
    settings: Settings,
) -> Section:
    """Return the part of one run: coregistration, motion, and each strategy's figures."""
    entities: dict[str, Any] = dict(run)
    made_by = _preprocessing(r for r in results if (r.session, r.run) == (session, run))
    figures = [
        figure_item(root, naming.figure(label, session, what, **entities), what, NOT_FINISHED)
        for what in (("motion",) if made_by else ("coregistration", "motion"))
    ]
    distortion = naming.figure(label, session, "distortion", **entities)
    if (root / distortion).is_file():  # only runs with a field map have one
        figures.insert(1, figure_item(root, distortion, "distortion", NOT_FINISHED))
    designs, anchor = designs_of(results, session, run), _anchor(session, run)
    asked = _strategies(designs, settings)
    figures += strategy_figures(root, label, session, run, asked, NOT_FINISHED)
    return Section(
        anchor=anchor,
        title=capitalised(run_title(session, run)),
        text=_run_text(results, session, run, made_by) + unused_words(designs, settings.denoise),
        tables=_run_tables(root, label, session, run, results, designs),
        figures=tuple(figures),
        parts=regressor_parts(anchor, designs),
    )


def _run_tables(
    root: Path,
    label: str,
    session: str | None,
    run: Entities,
    results: Sequence[Result],
    designs: dict[str, dict[str, Any]],
) -> tuple[Table, ...]:
    """Return what is left of a run after denoising, and its quality."""
    tables = []
    rows = tuple(_row(session, run, strategy, design) for strategy, design in designs.items())
    if rows:
        tables.append(
            Table(
                caption="What is left of this run",
                header=tuple(name for name, _ in RUN_COLUMNS[1:]),
                rows=tuple(row[1:] for row in rows),
            )
        )
    for result in results:
        if result.product == "quality" and (result.session, result.run) == (session, run):
            path = naming.derivative("quality", label, session, **dict(run))
            table = quality_table(root, path, result.metadata)
            tables += [table] if table else []
    return tuple(tables)


def _run_text(
    results: Iterable[Result], session: str | None, run: Entities, made_by: Sequence[str]
) -> tuple[str, ...]:
    """Say who preprocessed a run, or which image of it was coregistered."""
    if made_by:
        return (PREPARED_RUN.format(generator=made_by[0]),)
    own = (r for r in results if (r.product, r.session, r.run) == ("boldref", session, run))
    return tuple(words for result in own for words in reference_words(result.metadata))


def _anchor(session: str | None, run: Entities) -> str:
    return "run-" + "-".join([session or "", *(label for pair in run for label in pair)])


def _strategies(designs: Iterable[str], settings: Settings) -> list[str]:
    asked = (naming.camel_label(name) for name in settings.denoise.strategies)
    return list(dict.fromkeys([*asked, *designs]))


def _row(
    session: str | None, run: Entities, strategy: str, design: dict[str, Any]
) -> tuple[str, ...]:
    values = (number(design.get(key)) for _, key in RUN_COLUMNS[2:])
    return (run_title(session, run), strategy, *values)


def _run_table(caption: str, rows: tuple[tuple[str, ...], ...]) -> Table:
    return Table(caption=caption, header=tuple(name for name, _ in RUN_COLUMNS), rows=rows)


def _summary(label: str, results: Sequence[Result], settings: Settings) -> Section:
    """Return the table of the whole participant and one row a run and strategy."""
    sessions = _sessions(results)
    names = dict.fromkeys(session for session, _ in sessions if session)
    maps = [result for result in results if result.product == SEED_MAP]
    lost = dict.fromkeys(
        str(result.metadata["Seed"]["Name"])
        for result in maps
        if "Missing" in result.metadata and "Seed" in result.metadata
    )
    made = {
        (result.session, result.entities.get("denoise"), result.entities.get("seed"))
        for result in maps
        if "Missing" not in result.metadata
    }
    overview = (
        ("Sessions", ", ".join(names) or ("one, without label" if sessions else "none")),
        ("Tasks", ", ".join(dict.fromkeys(task for _, task in sessions)) or "none"),
        ("Runs preprocessed", str(sum(len(runs) for runs in sessions.values()))),
        ("Preprocessing", ", ".join(_preprocessing(results)) or "rls_bids"),
        ("Denoising", ", ".join(settings.denoise.strategies)),
        ("Standard space", f"{settings.anat.space}, {resolution_words(settings.anat.resolution)}"),
        ("Seed maps", str(len(made))),
        ("Missing seeds", ", ".join(lost) or ("none" if made else "all")),
    )
    rows = tuple(
        _row(session, run, strategy, design)
        for (session, _), runs in sessions.items()
        for run in runs
        for strategy, design in designs_of(results, session, run).items()
    )
    tables = [
        Table(caption=f"Participant {label}", header=("What", "Found"), rows=overview),
        _run_table("Runs (FD: framewise displacement; df: degrees of freedom)", rows),
    ]
    return Section(anchor="summary", title="Summary", tables=tuple(tables))


def _preprocessing(results: Iterable[Result]) -> tuple[str, ...]:
    """Return the programs whose preprocessed series were read, as the sidecars tell."""
    told = (str(r.metadata.get("Preprocessing", "")) for r in results if r.product == "confounds")
    return tuple(sorted({name for name in told if name}))


def _facts(results: Sequence[Result], seeds: Sequence[Seed], settings: Settings) -> Facts:
    """Return what the sidecars say about how it was done."""
    extraction = {str(result.metadata.get("BrainExtraction", "")) for result in results} - {""}
    timing = {
        bool(result.metadata["SliceTimingCorrected"])
        for result in results
        if "SliceTimingCorrected" in result.metadata
    }
    distortion = {
        str(result.metadata["DistortionCorrection"] or "")
        for result in results
        if "DistortionCorrection" in result.metadata
    }
    discarded = {
        int(result.metadata["NumberOfVolumesDiscardedByUser"])
        for result in results
        if "NumberOfVolumesDiscardedByUser" in result.metadata
    }
    echoes = {
        len(result.metadata["EchoTimes"]) for result in results if "EchoTimes" in result.metadata
    }
    computed = {
        result.entities["seed"]
        for result in results
        if result.product == SEED_MAP and "Missing" not in result.metadata
    }
    return Facts(
        brain_extraction=extraction.pop() if len(extraction) == 1 else "",
        slice_timing=timing.pop() if len(timing) == 1 else None,
        distortion=tuple(sorted(distortion)),
        is_averaged=any(result.metadata.get("Averaged") for result in results),
        has_sbref=any(r.metadata.get("CoregistrationReference") == SBREF for r in results),
        discarded=tuple(sorted(discarded)),
        echoes=tuple(sorted(echoes)),
        preprocessing=_preprocessing(results) or generators(settings),
        seeds=tuple(seed for seed in seeds if naming.camel_label(seed.name) in computed),
        measures=_measures(results),
        finished=tuple(
            stage
            for stage, is_done in (
                ("Anatomy", any(_is_anatomy(result) for result in results)),
                ("BOLD", any(result.product == "confounds" for result in results)),
                ("Denoising", any(result.product == "design" for result in results)),
                ("Seed connectivity", bool(computed)),
            )
            if is_done
        ),
    )


def _measures(results: Iterable[Result]) -> tuple[str, ...]:
    """Return the measures besides seed maps that were made, in the order of the table."""
    made = {
        str(result.metadata["Measure"]["Name"])
        for result in results
        if result.product == "local_map" and "Missing" not in result.metadata
    }
    for product, name in (("relmat", "matrices"), ("graph", "graphs")):
        made |= {name for r in results if r.product == product and "Missing" not in r.metadata}
    return tuple(name for name in MEASURES if name in made)
