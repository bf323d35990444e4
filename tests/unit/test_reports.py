"""Pages and methods text: complete, escaped, portable, and honest about what is missing."""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from rls_bids.dataset import naming
from rls_bids.measures import MEASURES
from rls_bids.records import Note
from rls_bids.reports import html, methods, texts, towards, wording
from rls_bids.reports.collect import NOT_FINISHED, collect_participant
from rls_bids.resources import default_seeds
from rls_bids.settings import (
    AnatSettings,
    BoldSettings,
    DenoiseSettings,
    GroupSettings,
    InputSettings,
    MeasureSettings,
    RunSettings,
    Settings,
)

SVG = '<svg xmlns="http://www.w3.org/2000/svg"/>'
EVIL = '<script>alert("x")</script> & "quotes"'
STD = {"space": "MNI152NLin2009cAsym", "res": "2"}
MISSING = "thal_MD_L is missing in every run: 3 of 33 voxels usable"
STATUS = {
    "RepetitionTime": 2.0,
    "NumberOfVolumes": 200,
    "NumberOfVolumesKept": 197,
    "MinutesKept": 6.567,
    "MeanFramewiseDisplacement": 0.14321,
    "MaxFramewiseDisplacement": 1.41,
    "BandDimensions": 74,
    "NumberOfRegressors": 22,
    "ResidualDegreesOfFreedom": 52,
    "Regressors": ["trans_x", "c_comp_cor_00"],
}
NOTCH = {"motion_filter": "notch", "band_stop_min_bpm": 12.0, "band_stop_max_bpm": 18.0}
COVERAGE = {
    "seed": "thal_VPL_L",
    "run": 1,
    "n_voxels": 29,
    "n_region": 33,
    "coverage": 0.88,
    "tissue_fractions": {"GM": 0.7, "WM": 0.3, "CSF": 0.0},
    "missing": "",
}


class Page(HTMLParser):
    """Collects what a test asks of a page and checks that its tags close in order."""

    void = ("meta", "img", "br", "link")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        values = dict(attrs)
        if "id" in values:
            self.ids.append(str(values["id"]))
        if tag == "img":
            self.images.append(values)
        if tag == "a":
            self.links.append(str(values["href"]))
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def _check(path: Path, root: Path) -> Page:
    """A page stands alone: no script, no network, every local link and picture is there."""
    page = Page(path)
    assert not page.tags & {"script", "link", "iframe"}
    assert len(page.ids) == len(set(page.ids))
    assert all(image["alt"] for image in page.images)
    local = [link for link in page.links if not link.startswith("https://doi.org/")]
    for address in [*local, *(str(image["src"]) for image in page.images)]:
        if address.startswith("#"):
            assert address[1:] in page.ids
        else:
            assert not Path(unquote(address)).is_absolute()
            assert (path.parent / unquote(address)).resolve().is_relative_to(root.resolve())
            assert (path.parent / unquote(address)).is_file()
    return page


def make_settings(tmp_path: Path) -> Settings:
    return Settings(
        analysis_level="participant",
        input=InputSettings(bids_dir="/data", output_dir=str(tmp_path / "out")),
        anat=AnatSettings(),
        bold=BoldSettings(),
        denoise=DenoiseSettings(),
        measures=MeasureSettings(),
        group=GroupSettings(),
        run=RunSettings(),
    )


@pytest.fixture
def settings(tmp_path) -> Settings:
    return make_settings(tmp_path)


def _write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text, encoding="utf-8")


def _result(root: Path, product: str, metadata: dict, *owner: str, **entities: str) -> None:
    path = naming.derivative(product, *owner, **entities)
    _write(root, naming.sidecar(path), json.dumps(metadata))


@pytest.fixture
def outputs(settings) -> Path:
    """One session with two runs; the coregistration figure of run 2 and one seed are missing."""
    root, owner = Path(settings.input.output_dir), ("01", "A")
    _result(root, "t1w_mask", {"BrainExtraction": "deepbet"}, *owner)
    for what in ("brainmask", "tissue", "normalization"):
        _write(root, naming.figure(*owner, what), SVG)
    for run in ("1", "2"):
        names = {"task": "rest", "run": run}
        _result(root, "confounds", {"SliceTimingCorrected": True}, *owner, **names)
        _result(root, "design", STATUS, *owner, **names, denoise="acompcor")
        _write(root, naming.figure(*owner, "motion", **names), SVG)
        _write(root, naming.figure(*owner, "carpet", **names, denoise="acompcor"), SVG)
    _write(root, naming.figure(*owner, "coregistration", task="rest", run="1"), SVG)
    _write(root, naming.figure(*owner, "seeds", task="rest"), SVG)
    for seed in ("thal_VPL_L", "thal_MD_L"):
        shared = {"task": "rest", "denoise": "acompcor", "seed": seed}
        metadata = {
            "Seed": {"Name": seed},
            "NumberOfRuns": 2,
            "MinutesKept": 13.1,
            "DegreesOfFreedom": 104,
            "SeedCoverage": [COVERAGE | {"seed": seed}],
            "LeftOut": [],
        }
        if seed == "thal_MD_L":
            metadata["Missing"] = MISSING
        else:
            _write(root, naming.figure(*owner, "seedmap", **shared), SVG)
        for stat in ("fisherz", "pearsonr"):
            _result(root, "seed_map", metadata, *owner, **STD, **shared, stat=stat)
    return root


def test_participant_page_shows_everything_and_names_what_is_missing(outputs, settings):
    page = collect_participant(outputs, "01", [], settings)
    path = html.write_participant_page(outputs, page)
    assert path == outputs / "sub-01.html"
    shown = _check(path, outputs)
    on_disk = sorted((outputs / "sub-01" / "figures").iterdir())
    assert sorted(outputs / unquote(str(image["src"])) for image in shown.images) == on_disk
    assert f"Coregistration not made: {NOT_FINISHED}" in shown.text
    assert f"Seed map: thal_MD_L not made: {MISSING}" in shown.text
    for value in ("6.57", "0.143", "1.41", "74", "22", "52", "88 %", "trans_x, c_comp_cor_00"):
        assert value in shown.text
    assert "Everything that was asked for was done." in shown.text
    assert "deepbet" in shown.text
    assert "Slices were brought to the middle" in shown.text


def test_the_page_moves_with_the_output_directory(outputs, settings, tmp_path):
    html.write_participant_page(outputs, collect_participant(outputs, "01", [], settings))
    shutil.move(outputs, tmp_path / "a new place")
    _check(tmp_path / "a new place" / "sub-01.html", tmp_path / "a new place")


def test_page_of_a_participant_without_any_output(settings):
    root = Path(settings.input.output_dir)
    note = Note(participant="02", level="failed", message=EVIL, hint="Look at it.", where=EVIL)
    page = collect_participant(root, "02", [note], settings)
    shown = _check(html.write_participant_page(root, page), root)
    assert EVIL in shown.text
    assert "Something failed." in shown.text
    assert "No BOLD run got through preprocessing" in shown.text
    assert shown.text.count(f"not made: {NOT_FINISHED}") == 3
    assert shown.text.count(methods.NOT_DONE) == len(methods.STAGES)
    assert shown.images == []


def test_crash_texts_are_shown_escaped_and_shortened(outputs, settings):
    crash = outputs / "sub-01" / "log" / "now" / "crash-1.txt"
    _write(outputs, crash.relative_to(outputs).as_posix(), f"Node: a\n{EVIL}\n" + "x" * 30_000)
    note = Note(participant="01", level="failed", message="A node failed.", where=str(crash))
    page = collect_participant(outputs, "01", [note, note], settings)
    shown = _check(html.write_participant_page(outputs, page), outputs)
    assert len(page.crashes) == 1
    assert page.crashes[0].path == "sub-01/log/now/crash-1.txt"
    assert EVIL in shown.text
    assert "the rest is in the file" in shown.text
    assert shown.text.count("A node failed.") == 2  # once as a note, once as the crash's title


def test_pages_alone_show_the_crashes_of_the_last_run_that_computed(outputs, settings):
    log = "sub-01/log"
    for run, pages_only in (("1", "false"), ("2", "false"), ("3", "true")):
        _write(outputs, f"{log}/{run}/settings.toml", f"[run]\nreports_only = {pages_only}\n")
        _write(outputs, f"{log}/{run}/crash-{run}.txt", f"crash of {run}")
    computed = collect_participant(outputs, "01", [], settings)
    assert computed.crashes == ()
    only_pages = replace(settings, run=replace(settings.run, reports_only=True))
    found = collect_participant(outputs, "01", [], only_pages).crashes
    assert [crash.text for crash in found] == ["crash of 2"]


def test_a_broken_sidecar_is_named_and_stops_nothing(outputs, settings):
    path = naming.sidecar(
        naming.derivative("design", "01", "A", task="rest", run="2", denoise="acompcor")
    )
    _write(outputs, path, "{")
    page = collect_participant(outputs, "01", [], settings)
    assert [note.message for note in page.notes] == [
        f"{path} cannot be read, so the page lacks what it says."
    ]


def test_anatomy_alone_says_so(outputs, settings):
    only = replace(settings, run=replace(settings.run, anat_only=True))
    page = collect_participant(outputs, "01", [], only)
    assert [section.anchor for section in page.sections] == ["anatomy", "runs"]
    assert [title for title, _ in page.methods.paragraphs] == ["Software", "Anatomy"]


def test_a_png_serves_where_there_is_no_svg(tmp_path):
    _write(tmp_path, "a.png", "x")
    assert texts.figure_item(tmp_path, "a.svg", "motion", "lost").path == "a.png"
    assert texts.figure_item(tmp_path, "b.svg", "motion", "lost").reason == "lost"


def test_notes_are_sorted_by_gravity_and_shown_once():
    notes = tuple(
        Note(participant=None, level=level, message=level)  # type: ignore[arg-type]
        for level in ("info", "failed", "skipped", "failed")
    )
    found = html.note_groups(notes)
    assert [level for level, _, _ in found] == ["failed", "skipped", "info"]
    assert [len(group) for _, _, group in found] == [1, 1, 1]


@pytest.mark.parametrize(
    ("value", "expected"), [(0.14321, "0.143"), (12345.6, "12346"), (-3, "−3"), (None, "–")]
)
def test_numbers_in_tables(value, expected):
    assert texts.number(value) == expected


# --- methods -----------------------------------------------------------------------------------


def test_every_citation_has_a_complete_reference(settings):
    known = methods.bibliography()
    assert len(known) >= 18
    for reference in known.values():
        assert all((reference.title, reference.journal, reference.year, reference.authors))
    dois = [reference.doi for reference in known.values() if reference.doi]
    assert len(dois) == len(set(dois))
    assert all(re.fullmatch(r"10\.\d{4,}/\S+", doi) for doi in dois)
    denoise = replace(settings.denoise, strategies=("acompcor", "24P", "6P", "none"), **NOTCH)
    everything = replace(settings, analysis_level="group", denoise=denoise)
    prepared = methods.Facts(preprocessing=("fMRIPrep 23.2.0",))
    kinds, others = ("phasediff", "opposed"), tuple(MEASURES)[1:]
    moved = towards.METHOD.format(n=2, source="declared beforehand", change="by flipping signs")
    tested = (wording.GROUP_GRAPHS.format(n=5000), wording.GROUP_MATRICES.format(n=5000))
    compared = (*tested, wording.OWN_TEMPLATES, moved)
    model = (wording.TOGETHER_SESSIONS.format(sessions="pre, post"), wording.SIZES)
    mapped = methods.Facts(
        distortion=kinds, echoes=(3,), measures=others, model=model, group=compared
    )
    texts_of = [methods.methods_text(everything, facts) for facts in (None, mapped, prepared)]
    assert {reference.key for text in texts_of for reference in text.references} == set(known)


def test_another_program_takes_the_place_of_our_preprocessing(settings):
    told = methods.Facts(preprocessing=("fMRIPrep 23.2.0", "Mine 1.0"), finished=())
    text = dict(methods.methods_text(settings, told).paragraphs)
    assert "Anatomy" not in text
    assert "BOLD" not in text
    assert "fMRIPrep 23.2.0 [@fmriprep] and Mine 1.0;" in text["Preprocessing"]
    assert "steady state were left out" in text["Preprocessing"]
    more = replace(settings, bold=replace(settings.bold, dummy_scans=4))
    text = dict(methods.methods_text(more, told).paragraphs)
    assert "and at least the first 4 were left out" in text["Preprocessing"]


@pytest.mark.parametrize(
    ("change", "present", "absent"),
    [
        ({"strategies": ("6P",)}, "6P: six head motion parameters.", "acompcor"),
        ({"band_pass": False}, "No band-pass filter was used", "Butterworth"),
        ({"low_hz": 0.02}, "0.02–0.1 Hz", "0.01–0.1 Hz"),
        ({"fd_threshold_mm": 0.0}, "No volume was censored.", "were censored"),
        ({"fd_threshold_mm": 0.2}, "above 0.2 mm were censored", "0.5 mm"),
        ({"smoothing_fwhm_mm": 0.0}, "Residuals were not smoothed.", "Gaussian"),
        ({"min_df": 5, "min_time_s": 0.0}, "at least 0 s and 5 residual", "240"),
    ],
)
def test_methods_follow_the_settings(settings, change, present, absent):
    changed = replace(settings, denoise=replace(settings.denoise, **change))
    text = dict(methods.methods_text(changed).paragraphs)["Denoising"]
    assert present in text
    assert absent not in text


def test_methods_follow_what_was_found(settings):
    seeds = default_seeds()
    facts = methods.Facts(brain_extraction="zeros of the image", slice_timing=False, seeds=seeds)
    found = methods.methods_text(settings, facts)
    text = dict(found.paragraphs)
    assert "came without skull" in text["Anatomy"]
    assert "Slice timing was not corrected." in text["BOLD"]
    assert all(seed.name in text["Seed connectivity"] for seed in seeds if seed.kind != "mean")
    assert {"robex", "deepbet"}.isdisjoint(reference.key for reference in found.references)


def test_citation_files_agree(settings):
    written = methods.write_citation(settings)
    assert [path.name for path in written] == ["CITATION.md", "CITATION.bib", "CITATION.html"]
    markdown, bibtex, _ = (path.read_text(encoding="utf-8") for path in written)
    assert "[@" not in markdown
    assert "(Cox & Jesmanowicz 1999)" in markdown
    keys = re.findall(r"^@article\{(\w+),$", bibtex, re.MULTILINE)
    assert keys == [reference.key for reference in methods.methods_text(settings).references]
    assert bibtex.count("{") == bibtex.count("}")
    page = _check(written[2], Path(settings.input.output_dir))
    assert {f"ref-{key}" for key in keys} <= set(page.ids)
