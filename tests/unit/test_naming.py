"""Names: the promised ones, the round trip, and no two results in one path."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rls_bids.dataset import naming
from rls_bids.dataset.naming import derivative, parse
from rls_bids.dataset.products import PRODUCTS
from rls_bids.errors import UsageError

MNI = "MNI152NLin2009cAsym"
STD = {"space": MNI, "res": "2"}
PARCELS = {"task": "rest", "space": MNI, "seg": "AAL3", "denoise": "24P"}
labels = st.text(string.ascii_letters + string.digits + "+", min_size=1, max_size=8)
# The strategy inside desc-denoised<Strategy> starts with a capital whatever it was.
strategies = labels.map(lambda label: label[0].lower() + label[1:])

PROMISED = [
    (("t1w", {}), "anat/sub-01_desc-preproc_T1w.nii.gz"),
    (("t1w", STD), f"anat/sub-01_space-{MNI}_res-2_desc-preproc_T1w.nii.gz"),
    (("t1w_mask", {}), "anat/sub-01_desc-brain_mask.nii.gz"),
    (("dseg", {}), "anat/sub-01_dseg.nii.gz"),
    (("probseg", {"label": "GM"}), "anat/sub-01_label-GM_probseg.nii.gz"),
    (
        ("probseg", {"label": "GM", **STD}),
        f"anat/sub-01_space-{MNI}_res-2_label-GM_probseg.nii.gz",
    ),
    (("t1w_to_std_xfm", {"to": MNI}), f"anat/sub-01_from-T1w_to-{MNI}_mode-image_xfm.h5"),
    (("std_to_t1w_xfm", {"from_": MNI}), f"anat/sub-01_from-{MNI}_to-T1w_mode-image_xfm.h5"),
    (
        ("boldref_to_t1w_xfm", {"task": "rest", "run": "1"}),
        "func/sub-01_task-rest_run-1_from-boldref_to-T1w_mode-image_xfm.txt",
    ),
    (
        ("hmc_xfm", {"task": "rest"}),
        "func/sub-01_task-rest_from-orig_to-boldref_mode-image_desc-hmc_xfm.txt",
    ),
    (("boldref", {"task": "rest"}), "func/sub-01_task-rest_boldref.nii.gz"),
    (
        ("bold_mask_std", {"task": "rest", **STD}),
        f"func/sub-01_task-rest_space-{MNI}_res-2_desc-brain_mask.nii.gz",
    ),
    (
        ("confounds", {"task": "rest", "acq": "hi", "run": "02"}),
        "func/sub-01_task-rest_acq-hi_run-02_desc-confounds_timeseries.tsv",
    ),
    (("outliers", {"task": "rest"}), "func/sub-01_task-rest_outliers.tsv"),
    (
        ("design", {"task": "rest", "denoise": "acompcor_gsr"}),
        "func/sub-01_task-rest_denoise-acompcorGsr_design.tsv",
    ),
    (
        ("denoised_bold", {"task": "rest", "denoise": "acompcor", **STD}),
        f"func/sub-01_task-rest_space-{MNI}_res-2_desc-denoisedAcompcor_bold.nii.gz",
    ),
    (
        (
            "seed_map",
            {
                "task": "rest",
                "denoise": "24P",
                "seed": "thal_VPL_L",
                "stat": "fisherz",
                **STD,
            },
        ),
        f"func/sub-01_task-rest_space-{MNI}_res-2_denoise-24P_seed-thalVPLL_stat-fisherz"
        "_statmap.nii.gz",
    ),
    (
        ("parcel_series", {**PARCELS, "run": "1", "stat": "coverage"}),
        f"func/sub-01_task-rest_run-1_space-{MNI}_seg-AAL3_denoise-24P_stat-coverage"
        "_timeseries.tsv",
    ),
    (
        ("relmat", {**PARCELS, "meas": "partialcorrelation"}),
        f"func/sub-01_task-rest_space-{MNI}_seg-AAL3_denoise-24P_meas-partialcorrelation"
        "_relmat.tsv",
    ),
    (
        ("relmat", {**PARCELS, "meas": "fisherz", "desc": "lobes"}),
        f"func/sub-01_task-rest_space-{MNI}_seg-AAL3_denoise-24P_meas-fisherz_desc-lobes"
        "_relmat.tsv",
    ),
]


@pytest.mark.parametrize(("asked", "expected"), PROMISED, ids=[a[0][0] for a in PROMISED])
def test_promised_names(asked: tuple[str, dict[str, str]], expected: str) -> None:
    product, entities = asked
    path = derivative(product, "01", **entities)
    assert path == f"sub-01/{expected}"
    assert parse(path).product == product
    in_session = derivative(product, "01", "A", **entities)
    assert in_session == f"sub-01/ses-A/{expected.replace('sub-01_', 'sub-01_ses-A_')}"
    assert parse(in_session).session == "A"


@st.composite
def results(draw: st.DrawFn) -> tuple[str, str | None, str | None, tuple[tuple[str, str], ...]]:
    """Draw (product, participant, session, entities) that the table allows."""
    product = draw(st.sampled_from(PRODUCTS))
    optional = (
        draw(st.lists(st.sampled_from(product.optional), unique=True))
        if (product.optional)
        else []
    )
    allowed = dict(product.allowed)
    entities = {}
    for entity in (*product.required, *optional):
        if entity in allowed:
            entities[entity] = draw(st.sampled_from(allowed[entity]))
        else:
            entities[entity] = draw(strategies if entity == "denoise" else labels)
    if product.suffix == "components":
        entities["seg"] = f"ICA{draw(st.integers(2, 200))}"
    grouped = product.folder == "group"
    participant = None if grouped else draw(labels)
    session = None if grouped else draw(st.none() | labels)
    return product.name, participant, session, tuple(sorted(entities.items()))


def path_of(result: tuple[str, str | None, str | None, tuple[tuple[str, str], ...]]) -> str:
    product, participant, session, entities = result
    if participant is not None:
        return derivative(product, participant, session, **dict(entities))
    given = dict(entities)
    if "model" not in given:
        return naming.ica_file(product, int(given.pop("seg").removeprefix("ICA")), **given)
    model = given.pop("model")
    if product == "group_map":
        return naming.group_map(model, given.pop("stat"), **given)
    return naming.group_table(model, product.removeprefix("group_"), **given)


@settings(max_examples=150, deadline=None)
@given(results())
def test_round_trip(result) -> None:  # type: ignore[no-untyped-def]
    parsed = parse(path_of(result))
    assert (parsed.product, parsed.participant, parsed.session, parsed.entities) == result


@settings(max_examples=150, deadline=None)
@given(results(), results())
def test_two_results_never_share_a_path(one, other) -> None:  # type: ignore[no-untyped-def]
    assert (path_of(one) == path_of(other)) == (one == other)
    # Components and their table share a sidecar, as network maps do.
    first, second = ((each[0].removesuffix("_table"), *each[1:]) for each in (one, other))
    assert (naming.sidecar(path_of(one)) == naming.sidecar(path_of(other))) == (first == second)


@given(st.text(max_size=20))
def test_camel_label_is_a_label_and_stays_one(name: str) -> None:
    if not set(name) & set(string.ascii_letters + string.digits + "+"):
        with pytest.raises(UsageError, match="has no letter or digit"):
            naming.camel_label(name)
        return
    label = naming.camel_label(name)
    assert set(label) <= set(string.ascii_letters + string.digits + "+")
    assert naming.camel_label(label) == label


@pytest.mark.parametrize(
    "path",
    [
        "sub-01/func/sub-01_task-rest_bold.nii.gz",
        "sub-01/anat/sub-02_desc-preproc_T1w.nii.gz",
        "sub-01/func/sub-01_desc-preproc_T1w.nii.gz",
        "sub-01/anat/sub-01_desc-preproc_space-x_T1w.nii.gz",
        "sub-01/anat/sub-01_desc-preproc_desc-preproc_T1w.nii.gz",
        "sub-01/anat/sub-01_foo-bar_T1w.nii.gz",
        "sub-01/anat/sub-01_desc-preproc_T1w.mgz",
        "group/model-a/model-b_task-rest_denoise-24P_design.tsv",
        "group/ica-3/task-rest_space-x_seg-ICA4_denoise-24P_components.tsv",
        "group/ica-03/task-rest_space-x_seg-ICA03_denoise-24P_components.tsv",
        "group/ica-3/task-rest_space-x_seg-AAL3_denoise-24P_components.tsv",
    ],
)
def test_foreign_names_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="does not match any product"):
        parse(path)


def test_missing_and_unknown_entities_are_defects() -> None:
    with pytest.raises(ValueError, match=r"missing entities \['task'\]"):
        derivative("boldref", "01")
    with pytest.raises(ValueError, match=r"unexpected \['seed'\]"):
        derivative("t1w", "01", seed="PCC")
    with pytest.raises(ValueError, match="stat-alff is not one of"):
        derivative(
            "seed_map", "01", task="rest", space=MNI, denoise="24P", seed="PCC", stat="alff"
        )


def test_figures_pages_and_logs() -> None:
    assert (
        naming.figure("01", "A", "seedMap", task="rest", seed="thal_VPL_L", extension="png")
        == "sub-01/figures/sub-01_ses-A_task-rest_seed-thalVPLL_desc-seedMap_bold.png"
    )
    assert naming.figure("01", None, "brain") == "sub-01/figures/sub-01_desc-brain_T1w.svg"
    assert naming.report_page("01") == "sub-01.html"
    assert naming.log_dir("01", "20260101-000000_x") == "sub-01/log/20260101-000000_x"
    assert naming.log_dir(None, "x") == "group/log/x"
    assert naming.group_page("patients") == "group/model-patients.html"
    assert (
        naming.group_figure("m", "glass", task="rest", seed="PCC")
        == "group/model-m/figures/model-m_task-rest_seed-PCC_desc-glass_statmap.svg"
    )


def test_names_of_group_ica() -> None:
    entities = {"task": "rest", "denoise": "acompcor_gsr", **STD}
    stem = f"task-rest_space-{MNI}_seg-ICA12_res-2"
    path = naming.ica_file("components", 12, **entities)
    assert path == f"group/ica-12/{stem}_denoise-acompcorGsr_components.nii.gz"
    table = naming.ica_file("components_table", 12, **entities)
    assert table == path.replace(".nii.gz", ".tsv")
    assert naming.sidecar(table) == naming.sidecar(path)  # one sidecar tells of both
    assert naming.ica_page(12) == "group/ica-12.html"
    figure = naming.ica_figure(12, 3, **entities)
    assert figure == f"group/ica-12/figures/{stem}_label-03_denoise-acompcorGsr_components.svg"
