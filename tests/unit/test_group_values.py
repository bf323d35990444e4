"""Nodes that compare tables of values, and the regions that such values come from."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats

from rls_bids.dataset.description import write_json
from rls_bids.dataset.designs import Design
from rls_bids.errors import InputDataError
from rls_bids.interfaces.group_values import COLUMNS, CompareValues, RegionValues, save_values
from rls_bids.interfaces.manifest import load_manifest
from tests.factories import write_nifti

N1, N2 = 9, 11
LABELS = [f"{n:02}" for n in range(N1 + N2)]
GROUPS = ("RLS",) * N1 + ("HC",) * N2
AGE = np.random.default_rng(0).integers(40, 70, N1 + N2).astype(float)


def two_groups() -> Design:
    frame = pd.DataFrame(
        {
            "group_RLS": [float(g == "RLS") for g in GROUPS],
            "group_HC": [float(g == "HC") for g in GROUPS],
            "age": AGE - AGE.mean(),
        },
        index=LABELS,
    )
    return Design(
        design=frame,
        inputs=(),
        contrasts=((1.0, -1.0, 0.0),),
        title="RLS > HC",
        label="RLSGtHC",
        hypothesis="The same.",
        groups=GROUPS,
        compared=(("RLS", 1.0), ("HC", -1.0)),
    )


def change() -> Design:
    frame = pd.DataFrame({"intercept": np.ones(7)}, index=LABELS[:7])
    return Design(
        design=frame,
        inputs=(),
        contrasts=((1.0,),),
        title="post > pre",
        label="postGtPre",
        hypothesis="No change.",
        sessions=("pre", "post"),
        responses=((-1.0, 1.0),),
        size="dz",
    )


def compare(folder: Path, design: Design, values: dict, sessions=(), **changes):
    design.design.to_csv(folder / "design.tsv", sep="\t", index=False)
    write_json(folder / "design.json", design.about)
    rows = [label for label in design.design.index for _ in design.responses[0]]
    save_values(values, rows, sessions, folder / "given.tsv")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        node = CompareValues(
            values=str(folder / "given.tsv"),
            design_file=str(folder / "design.tsv"),
            sidecar_file=str(folder / "design.json"),
            n_permutations=changes.pop("n_permutations", 500),
            version="1",
            **changes,
        )
        entries = {one["key"]: one for one in load_manifest(node.run().outputs.manifest)}
    table = pd.read_csv(entries["tests"]["file"], sep="\t", index_col="name")
    return table, entries["tests"]["metadata"]


def test_two_groups_beside_statsmodels(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"age": AGE, "g": [float(g == "RLS") for g in GROUPS]})
    frame["left"] = rng.standard_normal(len(AGE)) + 2.5 * frame["g"]
    frame["right"] = rng.standard_normal(len(AGE))
    lost = frame["right"].to_numpy().copy()
    lost[2] = np.nan
    table, told = compare(
        tmp_path,
        two_groups(),
        {"left": frame["left"], "right": frame["right"], "lost": lost},
        equivalence_bound=0.5,
    )
    for name in ("left", "right"):
        fitted = smf.ols(f"{name} ~ g + age", frame).fit()
        assert table.loc[name, "statistic"] == pytest.approx(fitted.tvalues["g"], rel=1e-5)
        assert table.loc[name, "effect"] == pytest.approx(fitted.params["g"], rel=1e-5)
        assert table.loc[name, "p_uncorrected"] == pytest.approx(fitted.pvalues["g"], rel=1e-5)
    assert table.loc["left", "p_fwe"] <= 0.01
    assert table.loc["right", "p_fwe"] > 0.05
    assert (table["p_fwe"] >= table["p_permutation"]).loc[["left", "right"]].all()
    assert table.loc["left", "size_withoutOneMin"] < table.loc["left", "size"]
    assert table.loc["left", "bf10"] > 3
    assert np.isnan(table.loc["lost", "p_fwe"])
    assert table.loc["lost", "n"] == len(AGE) - 1
    assert told["NumberOfRowsFwe05"] == 1
    assert told["EffectSize"] == "hedgesg"
    assert set(table.columns) | {"name"} <= set(COLUMNS)
    assert "p_equivalence" in table


def test_seven_changes_have_all_their_signs(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    before = rng.standard_normal(7)
    after = before + 3 + 0.1 * rng.standard_normal(7)
    values = np.stack([before, after], axis=1).ravel()
    table, told = compare(tmp_path, change(), {"thalamus": values}, ["pre", "post"] * 7)
    expected = stats.ttest_rel(after, before)
    assert table.loc["thalamus", "statistic"] == pytest.approx(expected.statistic, rel=1e-5)
    assert table.loc["thalamus", "p_fwe"] == pytest.approx(2 / 128)
    assert told["Resamplings"]["SmallestP"] == pytest.approx(2 / 128)
    assert told["Resamplings"]["Exhaustive"]
    values = json.loads((tmp_path / "design.json").read_text())
    assert values["Sessions"] == ["pre", "post"]


def test_regions_are_averaged_on_their_own_side(tmp_path: Path, monkeypatch) -> None:
    affine = np.diag([-4.0, 4.0, 4.0, 1.0])  # stored from right to left
    affine[:3, 3] = 90, -126, -72
    shape = (46, 55, 46)
    x = 90 - 4.0 * np.arange(shape[0])
    data = np.broadcast_to(np.where(x < 0, 2.0, 5.0)[:, None, None], shape).astype(np.float32)
    files = [str(write_nifti(tmp_path / f"{n}.nii.gz", data * n, affine=affine)) for n in (1, 2)]
    empty = write_nifti(tmp_path / "3.nii.gz", np.zeros(shape, np.float32), affine=affine)
    monkeypatch.chdir(tmp_path)

    def regions(paths):
        return RegionValues(
            in_files=paths,
            labels=["01", "02", "03"][: len(paths)],
            sessions=[""] * len(paths),
            regions=["AAL3:Precentral_L", "AAL3:Precentral_R"],
            space="MNI152NLin2009cAsym",
            version="1",
        ).run()

    table = pd.read_csv(regions([*files, str(empty)]).outputs.values, sep="\t")
    assert list(table["participant_id"]) == ["sub-01", "sub-02", "sub-03"]
    np.testing.assert_allclose(table["AAL3:Precentral_L"], [2, 4, np.nan])
    np.testing.assert_allclose(table["AAL3:Precentral_R"], [5, 10, np.nan])
    other = write_nifti(tmp_path / "4.nii.gz", data[:-1], affine=affine)
    with pytest.raises(InputDataError, match="not on the grid of"):
        regions([*files, str(other)])
