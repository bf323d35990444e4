"""The node on change towards controls: sets of maps, regions without values, order of rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rls_bids.interfaces.group_towards import COLUMNS, CompareTowards
from rls_bids.interfaces.group_values import save_values
from rls_bids.interfaces.manifest import load_manifest
from rls_bids.numerics.normalisation import Measured, towards_controls

N, N_CONTROLS = 10, 12
REGIONS = ("deep", "shallow")


def measured(seed: int, n: int = N) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patients lack 1.5 standard deviations in the first region, and get them back."""
    rng = np.random.default_rng(seed)
    trait = rng.standard_normal((n, 2)) + np.array([-1.5, 0])
    before = trait + 0.2 * rng.standard_normal((n, 2))
    after = trait + 0.2 * rng.standard_normal((n, 2)) + [1.5, 0]
    return before, after, rng.standard_normal((N_CONTROLS, 2))


def run(folder: Path, maps: list[tuple[np.ndarray, ...]], sets: list[int]) -> pd.DataFrame:
    paths = []
    for number, (before, after, controls) in enumerate(maps):
        patients = [f"p{place}" for place in range(len(before))]
        labels = [*patients, *patients, *(f"c{place}" for place in range(len(controls)))]
        sessions = ["pre"] * len(before) + ["post"] * len(before) + ["pre"] * len(controls)
        stack = np.concatenate([before, after, controls])
        paths.append(folder / f"{number}.tsv")
        save_values(dict(zip(REGIONS, stack.T, strict=True)), labels, sessions, paths[-1])
    node = CompareTowards(
        values=[str(path) for path in paths],
        names=[f"map {number}" for number in range(len(maps))],
        counts=[[len(one[0]), len(one[2]), 0] for one in maps],
        sets=sets,
        covariates=[{} for _ in maps],
        changes=[{} for _ in maps],
        source="declared",
        n_permutations=500,
        version="test",
    )
    entries = {each["key"]: each for each in load_manifest(node.run(cwd=folder).outputs.manifest)}
    table = pd.read_csv(entries["tests"]["file"], sep="\t")
    assert list(table.columns) == list(COLUMNS)
    values = pd.read_csv(entries["values"]["file"], sep="\t")
    assert len(values) == sum(len(pd.read_csv(path, sep="\t")) for path in paths)
    table.attrs = entries["tests"]["metadata"]
    return table


def expected(maps: list[tuple[np.ndarray, ...]]):
    before, after, controls = (np.column_stack(parts) for parts in zip(*maps, strict=True))
    data = Measured(before=before, after=after, controls=controls)
    return towards_controls(data, "declared", n_resamplings=500)


def test_maps_of_the_same_people_are_one_family(tmp_path: Path) -> None:
    maps = [measured(0), measured(1)]
    found, kernel = run(tmp_path, maps, [0, 0]), expected(maps)
    np.testing.assert_allclose(found["p_fwe"], kernel.p_fwe, rtol=1e-6)
    np.testing.assert_allclose(found["change"], kernel.change, rtol=1e-6)
    assert list(found["region"]) == [*REGIONS, *REGIONS]
    assert list(found["map"]) == ["map 0", "map 0", "map 1", "map 1"]
    assert (found["p_fwe"] <= 0.05).tolist() == [True, False, True, False]
    assert found.attrs["NumberOfRowsFwe05"] == 2
    np.testing.assert_allclose(found["before"][:2], maps[0][0].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found["controls"][2:], maps[1][2].mean(axis=0), rtol=1e-6)


def test_sets_of_other_people_are_multiplied(tmp_path: Path) -> None:
    """The maps of one set need not stand side by side."""
    maps = [measured(0), measured(2, N - 1), measured(1)]
    found = run(tmp_path, maps, [0, 1, 0])
    joint, alone = expected([maps[0], maps[2]]), expected([maps[1]])
    p = [*joint.p_fwe[:2], *alone.p_fwe, *joint.p_fwe[2:]]
    np.testing.assert_allclose(found["p_fwe"], np.minimum(2 * np.array(p), 1), rtol=1e-6)
    np.testing.assert_allclose(found["p"][2:4], alone.p, rtol=1e-6)
    assert found["n_patients"].tolist() == [N, N, N - 1, N - 1, N, N]
    assert found.attrs["NumberOfSets"] == 2


def test_a_region_that_one_participant_lacks_is_not_tested(tmp_path: Path) -> None:
    maps = [measured(0), measured(1)]
    maps[0][1][3, 1] = np.nan
    found = run(tmp_path, maps, [0, 0])
    assert np.isnan(found.loc[1, ["p", "p_fwe", "deficit"]].to_numpy(float)).all()
    assert pd.isna(found.loc[1, "is_closer"])
    assert found.loc[0, "p_fwe"] <= 0.05
    assert found.attrs["NumberOfRows"] == 3


@pytest.mark.parametrize("sign", [1, -1])
def test_sides(tmp_path: Path, sign: int) -> None:
    """Too much that becomes less is as good as too little that becomes more."""
    before, after, controls = (sign * part for part in measured(0))
    found = run(tmp_path, [(before, after, controls)], [0])
    assert np.sign(found["deficit"][0]) == np.sign(found["change"][0]) == sign
    assert found["p_fwe"][0] <= 0.05
    away = run(tmp_path, [(before, 2 * before - after, controls)], [0])
    assert away["p_fwe"][0] == 1
