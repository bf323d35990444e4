"""Tables beside maps, from the command line: sessions that are missing, and harmonised sites."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from rls_bids.dataset.description import (
    write_dataset_description,
    write_descriptions,
    write_json,
)
from rls_bids.dataset.harmonising import NOT_MAPS
from rls_bids.dataset.naming import derivative, sidecar
from rls_bids.dataset.walk import walk
from rls_bids.numerics.combat import COVARIATE_HINT, SMALL_SITE
from rls_bids.numerics.mixed import fit_mixed
from rls_bids.resources.regions import region_on_grid
from tests.factories import write_dataset, write_nifti
from tests.graph.test_group import AFFINE, SEEDS, SHAPE, SPACE, mean_fd, run, write_map

LEFT, RIGHT = "AAL3:Precentral_L", "AAL3:Precentral_R"
STEM = "group/model-group/model-group_task-rest_denoise-acompcor"
SEEDED = f"{STEM}_seed-DMNPCC_meas-fisherz_contrast"
QUALITY = f"{STEM}_meas-quality_contrast"
FAST = ("--regions", LEFT, RIGHT, "--correction", "fdr", "--n-permutations", 99)


def write_values(
    out: Path, label: str, session: str | None, shift: float, elsewhere: float = 0.0
) -> None:
    """Write a map with a level of its own, an effect elsewhere, and the table of its quality."""
    write_map(out, label, SEEDS[0], session)
    entities = {"task": "rest", "space": SPACE, "res": "2", "denoise": "acompcor"}
    path = derivative("seed_map", label, session, **entities, seed=SEEDS[0], stat="fisherz")
    rng = np.random.default_rng([int(label), len(session or "")])
    level = np.random.default_rng(int(label)).normal(0, 0.3)
    data = (level + shift + rng.normal(0.2, 0.2) + rng.normal(0, 0.1, SHAPE)).astype(np.float32)
    data[8:10, 5:7, 8:10] += elsewhere  # far from the regions
    data[0] = 0
    write_nifti(out / path, data, affine=AFFINE)
    path = derivative("quality", label, session, task="rest")
    (out / path).write_text(f"mean_fd\tmedian_tsnr\n{mean_fd(label)}\t{rng.normal(50, 5)}\n")
    about = {"Description": "d", "Sources": ["bids:raw:participants.tsv"], "Fingerprint": "x"}
    write_json(out / sidecar(path), about)


def test_who_lacks_a_session_counts_in_the_estimate(tmp_path: Path) -> None:
    labels = [f"{number:02}" for number in range(1, 9)]
    people = [{"participant_id": f"sub-{label}", "group": "RLS"} for label in labels]
    bids, out = write_dataset(tmp_path / "raw", {}, people), tmp_path / "out"
    write_dataset_description(out, bids, "0.1.0")
    for label in labels:
        for session in ("pre", "after"):
            if (label, session) != ("03", "after"):
                write_values(out, label, session, 0.3 * (session == "after"))
    write_descriptions(out)
    asked = ("--session-contrast", "after > pre", "--covariates", "none", *FAST)
    assert run(bids, out, *asked) == 0
    name = f"{SEEDED}-afterGtPre_desc-regions"
    table = pd.read_csv(out / f"{name}_roi.tsv", sep="\t", index_col="name")
    values = pd.read_csv(out / f"{name}Values_roi.tsv", sep="\t")
    assert len(values) == 15
    assert list(values.iloc[-1, :2]) == ["sub-03", "ses-pre"]
    # The last row is the mean of the map that nobody else needs.
    inside = region_on_grid(LEFT, SHAPE, AFFINE, SPACE)
    path = derivative(
        "seed_map", "03", "pre", task="rest", space=SPACE, res="2", denoise="acompcor",
        seed=SEEDS[0], stat="fisherz",
    )  # fmt: skip
    data = nib.load(out / path).get_fdata()[inside]
    assert values.iloc[-1][LEFT] == pytest.approx(data[data != 0].mean(), rel=1e-5)
    is_after = (values["session"] == "ses-after").to_numpy()
    cells = np.stack([is_after, ~is_after], axis=1).astype(float)
    numbers = values[[LEFT, RIGHT]].to_numpy()
    direct = fit_mixed(numbers, cells, [1, -1], values["participant_id"].to_numpy())
    np.testing.assert_allclose(table["mixed_effect"], direct.effect, rtol=1e-4)
    np.testing.assert_allclose(table["mixed_p"], direct.p, rtol=1e-3)
    assert (table["mixed_n"] == 8).all()
    assert (table["n"] == 7).all()
    told = json.loads((out / f"{name}_roi.json").read_text())
    assert any("sub-03" in one for one in told["Sources"])
    assert "8 participants" in told["MixedModel"]
    numbers = pd.read_csv(out / f"{QUALITY}-afterGtPre_desc-qualityValues_roi.tsv", sep="\t")
    assert len(numbers) == 15
    quality = pd.read_csv(out / f"{QUALITY}-afterGtPre_desc-quality_roi.tsv", sep="\t")
    assert (quality["mixed_n"] == 8).all()
    assert walk(out) == []
    page = (out / "group/model-group.html").read_text(encoding="utf-8")
    assert "Effect, all sessions" in page
    assert "(n = 8)" in page


def test_sites_are_harmonised_in_tables(tmp_path: Path, capfd) -> None:
    labels = [f"{number:02}" for number in range(1, 34)]
    sites = {label: "A" if int(label) <= 16 else "B" for label in labels}
    groups = {label: "RLS" if int(label) % 5 < 2 + 2 * (sites[label] == "B") else "HC"
              for label in labels}  # fmt: skip
    people = [
        {"participant_id": f"sub-{label}", "group": groups[label], "site": sites[label]}
        for label in labels
    ]
    bids, out = write_dataset(tmp_path / "raw", {}, people), tmp_path / "out"
    write_dataset_description(out, bids, "0.1.0")
    for label in labels:
        write_values(out, label, None, 5.0 * (sites[label] == "B"), 3.0 * (groups[label] == "RLS"))
    write_descriptions(out)
    asked = ("--covariates", "none", "--contrast", "RLS > HC", *FAST)
    assert run(bids, out, *asked, "--combat") == 0
    name = f"{SEEDED}-RLSGtHC"
    table = pd.read_csv(out / f"{name}_desc-regions_roi.tsv", sep="\t", index_col="name")
    # Without harmonisation, and without sites, the difference is that of the sites.
    values = pd.read_csv(out / f"{name}_desc-regionsValues_roi.tsv", sep="\t", index_col=0)
    is_rls = np.array([groups[who.removeprefix("sub-")] == "RLS" for who in values.index])
    raw = values[LEFT][is_rls].mean() - values[LEFT][~is_rls].mean()
    assert raw > 1
    assert (table["effect"].abs() < 0.4).all()
    assert table["p_uncorrected"].isna().all()
    assert table["p_fwe"].between(0.01, 1).all()
    told = json.loads((out / f"{name}_desc-regions_roi.json").read_text())
    assert "over site (ComBat, 2 sites" in told["Harmonisation"]
    assert "within" in told["Resamplings"]["Reason"]
    # Maps keep what they had.
    assert list(pd.read_csv(out / f"{name}_design.tsv", sep="\t")) == [
        "group_RLS", "group_HC", "site_b"
    ]  # fmt: skip
    page = (out / "group/model-group.html").read_text(encoding="utf-8")
    assert NOT_MAPS.format(column="site") in page
    assert told["Harmonisation"] in page
    assert run(bids, out, *asked, "--combat", "--exclude-participant-label", *labels[:3]) == 2
    said = " ".join(capfd.readouterr().err.split())
    assert SMALL_SITE.format(label="A", n=12, least=15) in said
    assert COVARIATE_HINT in said
