"""The methods section of what was run, from the settings and from facts found in the results.

Sentences cite by ``[@key]``, a key of ``boilerplate.bib``. The same sentences become the page's
methods section and ``logs/CITATION.md``, ``.html`` and ``.bib``.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rls_bids import __version__
from rls_bids.dataset.derivatives import open_data_sets
from rls_bids.dataset.description import atomic_write
from rls_bids.measures import MEASURES
from rls_bids.numerics.steady import LEAST_EXCESS, N_DEVIATIONS
from rls_bids.records import Seed
from rls_bids.reports import wording
from rls_bids.reports.references import Reference, bibliography
from rls_bids.resources.grids import resolution_words
from rls_bids.resources.seeds import seeds_asked
from rls_bids.resources.spaces import NOT_MOVED
from rls_bids.settings import Settings

PACKAGES = ("antspyx", "nipype", "pybids", "nilearn", "nibabel", "numpy", "scipy", "numba")
BUILT_IN_SPACE = "MNI152NLin2009cAsym"
STAGES = ("Anatomy", "BOLD", "Denoising", "Seed connectivity")
NOT_DONE = "Asked for, but not finished here."

_CITATION = re.compile(r"\[@([A-Za-z0-9_]+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What only the results tell; empty values are left open in the text.

    ``distortion`` are the kinds of field map that were used ("": none). ``is_averaged`` says that
    a T1w image is a mean, ``has_sbref`` that a run's BOLD reference is a single-band image.
    ``discarded`` and ``echoes`` are numbers a run of volumes at the start and of combined echoes.
    ``brain_extraction`` is the method's name in the mask's sidecar, ``slice_timing`` says whether
    the correction was done in every run (``None``: not known), ``seeds`` are those computed,
    ``measures`` the names of the other measures that were,
    ``preprocessing`` the programs whose preprocessed series were read (none: our own),
    ``model`` and ``group`` are sentences about the group level. ``finished`` names the stages of
    :data:`STAGES` that were done (``None``: all that were asked for).
    """

    brain_extraction: str = ""
    slice_timing: bool | None = None
    distortion: tuple[str, ...] = ()
    is_averaged: bool = False
    has_sbref: bool = False
    discarded: tuple[int, ...] = ()
    echoes: tuple[int, ...] = ()
    preprocessing: tuple[str, ...] = ()
    seeds: tuple[Seed, ...] = ()
    measures: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    finished: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Methods:
    """Headed paragraphs with ``[@key]`` citations, and the references they cite, in order."""

    paragraphs: tuple[tuple[str, str], ...]
    references: tuple[Reference, ...]


def versions(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the installed versions of packages; what is not installed is left out."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def methods_text(settings: Settings, facts: Facts | None = None) -> Methods:
    """Return the methods section of a run.

    Parameters
    ----------
    settings : Settings
        What was asked for.
    facts : Facts, optional
        What the results add, e.g. how the brain was extracted.
    """
    known = facts or Facts()
    installed = versions()
    paragraphs = [("Software", _software(installed, known))]
    if known.preprocessing:
        paragraphs.append(("Preprocessing", _preprocessing(settings, known)))
    else:
        paragraphs.append(("Anatomy", _anatomy(settings, known, installed)))
    if not settings.run.anat_only:
        if not known.preprocessing:
            paragraphs.append(("BOLD", _bold(settings, known)))
        paragraphs.append(("Denoising", wording.denoising_text(settings.denoise)))
        if settings.analysis_level != "group" or not _is_without_maps(known):
            paragraphs.append(("Seed connectivity", _seeds(known.seeds)))
        if known.measures:
            paragraphs.append(("Other measures", _measures(known.measures, settings)))
    done = STAGES if known.finished is None else known.finished
    paragraphs = [
        (title, NOT_DONE if title in STAGES and title not in done else text)
        for title, text in paragraphs
    ]
    if settings.analysis_level == "group":
        paragraphs.append(("Group", _group(settings, known)))
    return with_references(paragraphs)


def with_references(paragraphs: Iterable[tuple[str, str]]) -> Methods:
    """Collect the references that headed paragraphs cite, in order of first citation."""
    kept = tuple(paragraphs)
    keys = dict.fromkeys(key for _, text in kept for key in _CITATION.findall(text))
    return Methods(paragraphs=kept, references=tuple(bibliography()[key] for key in keys))


def _software(installed: Mapping[str, str], facts: Facts) -> str:
    listed = ", ".join(f"{name} {number}" for name, number in installed.items())
    masks = "; brain masks of BOLD references are made with Nilearn [@nilearn]"
    return (
        f"Results were computed by rls_bids {__version__} from data organised as BIDS [@bids], "
        "which it indexes with PyBIDS [@pybids] and processes as a graph of Nipype nodes "
        f"[@nipype]{'' if facts.preprocessing else masks}. "
        f"Versions: {listed}."
    )


def _preprocessing(settings: Settings, facts: Facts) -> str:
    names = [
        f"{name} [@fmriprep]" if name.lower().startswith("fmriprep") else name
        for name in facts.preprocessing
    ]
    dummies = settings.bold.dummy_scans
    dropped = f" and at least the first {dummies}" if dummies else ""
    return (
        f"BOLD series in {settings.anat.space}, their brain masks and confounds were taken from "
        f"{' and '.join(names)}; how they were made is in the methods text that comes with them. "
        f"Volumes that it marks as not in steady state{dropped} were left out. Series on another "
        f"grid than that of the results ({resolution_words(settings.anat.resolution)}) were "
        "interpolated once more (cubic B-spline); the participant's page says of which runs this "
        "is true. The displacement was computed by that program [@power2012]; differences and "
        "squares of confounds that it does not write were computed from its columns."
    )


def _anatomy(settings: Settings, facts: Facts, installed: Mapping[str, str]) -> str:
    extraction = wording.EXTRACTION.get(
        facts.brain_extraction,
        "the brain was extracted with ROBEX [@robex], or with deepbet [@deepbet] where it is "
        "installed, unless the image had no skull",
    )
    if settings.anat.skull_strip == "skip":
        extraction = wording.EXTRACTION["zeros of the image"]
    engine = f" (antspyx {installed['antspyx']})" if "antspyx" in installed else ""
    template = " [@mni2009c]" if settings.anat.space == BUILT_IN_SPACE else ""
    sloppy = (
        " The registration was shortened (--sloppy): it is meant for tests, not for research."
        if settings.anat.sloppy
        else ""
    )
    average = wording.AVERAGE if facts.is_averaged else ""
    return (
        f"{average}The T1w image was corrected for intensity non-uniformity with N4 [@n4]"
        f"{engine}; {extraction}. Grey matter, white matter and cerebrospinal fluid were "
        "segmented with Atropos [@atropos]. The brain was registered to "
        f"{settings.anat.space}{template} by rigid, affine and symmetric diffeomorphic (SyN) "
        f"transforms [@syn].{sloppy}"
    )


def _bold(settings: Settings, facts: Facts) -> str:
    sentences = [
        *_start(settings.bold.dummy_scans, facts.discarded),
        "Head motion was estimated by linearised least squares, the idea of 3dvolreg [@cox1999], "
        "with robust weights and in two passes.",
    ]
    timed = "slices were brought to the middle of the volume's acquisition time."
    if "slicetiming" in settings.bold.ignore or facts.slice_timing is False:
        sentences.append("Slice timing was not corrected.")
    elif facts.slice_timing:
        sentences.append(timed.capitalize())
    else:
        sentences.append(f"Where slice times were known and plausible, {timed}")
    sentences.append(_distortion(facts.distortion))
    sentences += [
        f"Head motion of runs with {number} echoes was estimated on the shortest. Each echo was "
        "interpolated; their mean, weighted by TE exp(−TE/T2*) in each voxel, with T2* from a "
        "log-linear fit to the temporal means, was the series [@posse1999]."
        for number in facts.echoes
    ]
    joined = f"Head motion, {'distortion, ' * any(facts.distortion)}coregistration"
    if facts.has_sbref:
        sentences.append(wording.SBREF)
    sentences.append(
        "The BOLD reference was registered rigidly to the T1w image by mutual information "
        f"[@studholme1999], then on the boundary of the white matter [@greve2009]. {joined} "
        "and normalisation were joined, so that every raw series was interpolated in space once "
        f"(cubic B-spline), onto a grid of {settings.anat.space} with voxels of "
        f"{wording.VOXELS.get(settings.anat.resolution, settings.anat.resolution + ' mm')}. "
        "Framewise displacement was computed with a radius of 50 mm [@power2012], DVARS and the "
        "carpet plot as described there and in [@power2014]."
    )
    return " ".join(sentences)


def _start(asked: int | None, found: tuple[int, ...]) -> list[str]:
    """Say which volumes at the start were discarded, and who decided that."""
    if asked is not None:
        return [f"The first {asked} volumes of each run were discarded."] if asked else []
    rule = (
        "Volumes at the start of a run that were brighter than its steady state, by more than "
        f"{LEAST_EXCESS:.0%} and {N_DEVIATIONS:g} standard deviations of the later volumes about "
        "their Theil–Sen line [@sen1968], up to the last clear fall, were discarded"
    )
    if not any(found):
        return [f"{rule}; there were none." if found else f"{rule}."]
    return [f"{rule}: {' to '.join(map(str, found[:1] + found[1:][-1:]))} a run."]


def _distortion(kinds: tuple[str, ...]) -> str:
    """Say how the susceptibility distortion was corrected, and whether in every run."""
    used = [wording.FIELD[kind] for kind in kinds if kind]
    if not used:
        return "Susceptibility distortion was not corrected."
    where = " in the runs that had a field map" if "" in kinds else ""
    return (
        f"Susceptibility distortion was corrected{where} by the field [@jezzard1995] from "
        f"{' or '.join(used)}; the signal was multiplied by the Jacobian of the shift."
    )


def _seeds(seeds: tuple[Seed, ...]) -> str:
    text = (
        MEASURES["seed"].method
        + _other_seeds(seeds)
        + " Seed connectivity goes back to [@biswal1995]."
    )
    places = [_seed_words(seed) for seed in seeds if seed.kind not in ("mean", "network")]
    text += f" Seeds: {'; '.join(places)}." if places else ""
    maps = [seed for seed in seeds if seed.kind == "network"]
    if maps:
        names = ", ".join(seed.name for seed in maps)
        space = maps[0].given_space
        text += (
            f" {MEASURES['dualregression'].method} Maps of {maps[0].source} [{space}]: {names}."
        )
    return text


def _other_seeds(seeds: tuple[Seed, ...]) -> str:
    """Say which seeds had another series than the mean, or shared a regression."""
    regions = [seed for seed in seeds if seed.kind not in ("mean", "network")]
    firsts = ", ".join(seed.name for seed in regions if seed.series == "eigenvariate")
    together = ", ".join(seed.name for seed in regions if seed.regression == "together")
    words = wording.EIGENVARIATE.format(names=firsts) if firsts else ""
    return words + (wording.TOGETHER.format(names=together) if together else "")


def _measures(names: Iterable[str], settings: Settings) -> str:
    """Describe the local measures and the matrices that were made."""
    chosen = settings.measures
    options = {
        "alff": f" The band was {chosen.alff_low_hz:g} to {chosen.alff_high_hz:g} Hz.",
        "centrality": (
            f" The threshold was r = {chosen.dc_threshold:g}, the share {chosen.dc_density:g}."
        ),
        "matrices": f" Atlases: {', '.join(chosen.atlases)}.",
        "graphs": wording.GRAPHS.format(
            weighting=" and ".join(chosen.graph_weighting),
            densities=", ".join(f"{density:g}" for density in chosen.graph_densities),
            n=chosen.n_nulls,
            nulls=chosen.graph_nulls,
        ),
    }
    told = [MEASURES[name].method + options.get(name, "") for name in names]
    if any(MEASURES[name].kind == "local" for name in names):
        told.append(wording.LOCAL.format(fwhm=settings.denoise.smoothing_fwhm_mm))
    return " ".join(told)


def _seed_words(seed: Seed) -> str:
    where = seed.mask or ""
    if seed.centre_mm is not None:
        numbers = ", ".join(f"{value:g}".replace("-", "−") for value in seed.centre_mm)
        where = f"({numbers}) mm, radius {seed.radius_mm:g} mm"
    space = seed.given_space or seed.space
    if seed.space == space:
        space = NOT_MOVED.format(source=space)
    source = f"; {seed.source}" if seed.source else ""
    doi = f", doi:{seed.doi}" if seed.doi else ""
    return f"{seed.name} {where} [{space}{source}{doi}]"


def _group(settings: Settings, facts: Facts) -> str:
    if facts.measures == ("ica",):
        return " ".join(facts.group)
    is_without = _is_without_maps(facts)
    tested = wording.GROUP_TABLES if is_without else wording.GROUP_MAPS
    corrected = "" if is_without else wording.group_correction(settings.group)
    return " ".join(filter(None, (tested, *facts.model, corrected, *facts.group)))


def _is_without_maps(facts: Facts) -> bool:
    """Whether the results are tables of parcels, or components, alone."""
    kinds = {MEASURES[name].kind for name in facts.measures}
    return kinds in ({"atlas"}, {"group"}) and not facts.seeds


def cited_pieces(text: str) -> tuple[tuple[str, Reference | None], ...]:
    """Take a text apart at its citations: each piece with the reference that follows it."""
    pieces = [*_CITATION.split(text), ""]
    known = bibliography()
    return tuple(
        (words, known[key] if key else None)
        for words, key in zip(pieces[::2], pieces[1::2], strict=True)
    )


def cite_plain(text: str) -> str:
    """Return a text with its ``[@key]`` citations as author and year."""
    return _CITATION.sub(lambda found: f"({bibliography()[found[1]].short})", text)


def markdown(methods: Methods) -> str:
    """Return the methods section with its references as Markdown."""
    lines = ["# Methods", ""]
    for title, text in methods.paragraphs:
        lines += [f"## {title}", "", cite_plain(text), ""]
    lines += ["## References", ""]
    for reference in methods.references:
        doi = f" <https://doi.org/{reference.doi}>" if reference.doi else ""
        lines.append(f"- {reference.line}{doi}")
    return "\n".join(lines) + "\n"


def generators(settings: Settings) -> tuple[str, ...]:
    """Return the programs that made the preprocessed data sets that were named, if any."""
    sources = open_data_sets(settings.input.derivatives)
    return tuple(dict.fromkeys(source.generator for source in sources))


def bibtex(methods: Methods) -> str:
    """Return the BibTeX entries that the methods section cites."""
    return "\n".join(reference.source for reference in methods.references)


def write_citation(settings: Settings, facts: Facts | None = None) -> tuple[Path, ...]:
    """Write ``logs/CITATION.md``, ``.bib`` and ``.html`` in the output directory.

    Parameters
    ----------
    settings : Settings
        What is run; the seeds of its seeds file are listed.
    facts : Facts, optional
        What the results add.

    Returns
    -------
    tuple of Path
        The three files.
    """
    from rls_bids.reports.html import render_citation

    seeds = seeds_asked(settings)
    known = facts or Facts(seeds=seeds, preprocessing=generators(settings))
    methods = methods_text(settings, known)
    folder = Path(settings.input.output_dir) / "logs"
    texts = {
        "CITATION.md": markdown(methods),
        "CITATION.bib": bibtex(methods),
        "CITATION.html": render_citation(methods),
    }
    for name, text in texts.items():
        atomic_write(folder / name, text)
    return tuple(folder / name for name in texts)
