"""The check on planted effects finds them, and fails where it must."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from rls_bids.dataset.naming import derivative
from rls_bids.phantom.recovery import STD, check_recovery, main, mirror_name, t_map_path

SHAPE = (60, 72, 60)
AFFINE = np.array([[3.0, 0, 0, -88], [0, 3, 0, -124], [0, 0, 3, -70], [0, 0, 0, 1]])
SEED_MM, TARGET_MM = (-18.0, -21.0, 5.0), (-41.0, -20.0, 50.0)


def _points() -> np.ndarray:
    return np.argwhere(np.ones(SHAPE, bool)) @ AFFINE[:3, :3].T + AFFINE[:3, 3]


def _save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values.reshape(SHAPE).astype(np.float32), AFFINE), path)


@pytest.fixture
def study(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, Path]:
    """A left seed with a negative effect in a left target; noise everywhere else."""
    bids, out = tmp_path / "bids", tmp_path / "out"
    truth = {
        "regions": {
            "VPL_L": {"seed": "thal_VPL_L", "centre_mm": SEED_MM},
            "hand_L": {"seed": "SMN_handM1_L", "centre_mm": TARGET_MM},
        },
        "effects": [
            {
                "network": "thalamocortical_left",
                "regions": ["VPL_L", "hand_L"],
                "seed": "VPL_L",
                "target": "hand_L",
                "sign_of_RLS_minus_HC": -1,
            }
        ],
    }
    folder = bids / "sourcedata" / "truth"
    folder.mkdir(parents=True)
    (folder / "truth.json").write_text(json.dumps(truth))
    (bids / "sub-01").mkdir()
    points = _points()
    brain = np.linalg.norm((points - (0, -18, 10)) / (65, 80, 65), axis=1) < 1
    _save(out / derivative("probseg", "01", None, **STD, label="GM"), brain * 0.8)
    planted = np.linalg.norm(points - TARGET_MM, axis=1) < 9
    noise = np.where(brain, rng.normal(0, 1, len(points)), 0)
    _save(out / t_map_path("thal_VPL_L"), noise - 4 * planted)
    _save(out / t_map_path("thal_VPL_R"), noise)
    return bids, out


def test_a_planted_effect_is_recovered(study) -> None:
    (target,) = check_recovery(*study)
    assert target.is_recovered
    assert target.mean_t == pytest.approx(4, abs=0.5)
    assert 0 < target.bound < 1
    assert main([str(path) for path in study]) == 0


def test_the_mirrored_truth_fails(study, capsys: pytest.CaptureFixture[str]) -> None:
    (target,) = check_recovery(*study, is_mirrored=True)
    assert not target.is_recovered
    assert main([*map(str, study), "--mirrored"]) == 1
    assert "NOT recovered" in capsys.readouterr().out


def test_the_wrong_sign_fails(study) -> None:
    bids, out = study
    path = out / t_map_path("thal_VPL_L")
    _save(path, -nib.load(path).get_fdata())
    (target,) = check_recovery(bids, out)
    assert not target.is_recovered


def test_mirror_names() -> None:
    assert mirror_name("SN_aIns_R") == "SN_aIns_L"
    assert mirror_name("DMN_PCC") == "DMN_PCC"
