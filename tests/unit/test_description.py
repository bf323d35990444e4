"""The output folder: hashes, atomic writes, resume, descriptions, the validator and our walk."""

import json
import multiprocessing
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rls_bids.dataset import description, naming
from rls_bids.dataset.products import PRODUCTS
from rls_bids.dataset.walk import walk
from rls_bids.errors import CannotWriteError, InputDataError
from tests.factories import write_dataset, write_nifti

MNI = "MNI152NLin2009cAsym"


def test_content_hash_follows_links_and_depends_on_bytes(tmp_path: Path) -> None:
    real = tmp_path / "real.nii"
    real.write_bytes(b"abc")
    link = tmp_path / "link.nii"
    link.symlink_to(real)
    # The digest of "abc" as FIPS 180-2 prints it.
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert description.content_hash(real) == description.content_hash(link) == known
    real.write_bytes(b"abd")
    assert description.content_hash(link) != known


@pytest.mark.parametrize(
    "pointer",
    [b"/annex/objects/SHA256E-s1--ab.nii.gz\n", b"version https://git-lfs.github.com/spec/v1\n"],
)
def test_pointers_are_named_with_the_way_out(tmp_path: Path, pointer: bytes) -> None:
    path = tmp_path / "sub-01_T1w.nii.gz"
    path.write_bytes(pointer)
    with pytest.raises(InputDataError) as caught:
        description.content_hash(path)
    assert caught.value.message == description.NOT_FETCHED.format(path=path)
    assert f"datalad get {path}" in caught.value.hint


def test_broken_links_and_missing_files(tmp_path: Path) -> None:
    link = tmp_path / "a.nii"
    link.symlink_to(tmp_path / ".git/annex/objects/x")
    with pytest.raises(InputDataError, match="is a pointer"):
        description.content_hash(link)
    with pytest.raises(InputDataError, match="is not there"):
        description.content_hash(tmp_path / "b.nii")


def test_fingerprint_is_canonical() -> None:
    base = description.fingerprint(a=1.0, b={"x": (1, 2), "y": None})
    assert base == description.fingerprint(b={"y": None, "x": [1, np.float64(2)]}, a=1)
    assert base != description.fingerprint(a=1.0, b={"x": (2, 1), "y": None})
    assert len(base) == 16
    # A fixed value: fingerprints of earlier outputs must stay valid.
    assert description.fingerprint(a=1) == "015abd7f5cc57a2d"


def test_atomic_write_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "new" / "map.nii.gz"

    def half(path: Path) -> None:
        assert path.name.endswith("-map.nii.gz")
        path.write_bytes(b"half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        description.atomic_write(target, half)
    assert list(target.parent.iterdir()) == []
    description.atomic_write(target, b"whole")
    description.atomic_write(target, lambda path: path.write_bytes(b"newer"))
    assert target.read_bytes() == b"newer"
    assert [path.name for path in target.parent.iterdir()] == ["map.nii.gz"]


def test_unwritable_place_is_named(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("", encoding="utf-8")
    with pytest.raises(CannotWriteError) as caught:
        description.write_json(blocker / "a.json", {})
    assert str(blocker / "a.json") in caught.value.message


def test_json_round_trip_and_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    description.write_json(path, {"b": np.float32(0.5), "a": float("nan"), "c": np.arange(2)})
    assert path.read_text(encoding="utf-8").index('"b"') < 5
    assert description.read_json(path) == {"b": 0.5, "a": None, "c": [0, 1]}
    path.write_text("{", encoding="utf-8")
    with pytest.raises(InputDataError, match="not valid JSON"):
        description.read_json(path)
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(InputDataError, match="an object was expected"):
        description.read_json(path)


def test_finished_needs_file_sidecar_and_fingerprint(tmp_path: Path) -> None:
    path = naming.derivative("boldref", "01", task="rest")
    assert not description.is_finished(tmp_path, path, "f")
    description.atomic_write(tmp_path / path, b"")
    assert not description.is_finished(tmp_path, path, "f")
    description.write_json(tmp_path / naming.sidecar(path), {"Fingerprint": "f"})
    assert description.is_finished(tmp_path, path, "f")
    assert not description.is_finished(tmp_path, path, "g")
    (tmp_path / path).unlink()
    assert not description.is_finished(tmp_path, path, "f")
    refused = {"Fingerprint": "f", "Missing": "the seed is outside the field of view"}
    description.write_json(tmp_path / naming.sidecar(path), refused)
    assert description.is_finished(tmp_path, path, "f")


def test_bids_uri(tmp_path: Path) -> None:
    out, raw = tmp_path / "out", tmp_path / "raw"
    assert description.bids_uri(out / "sub-01/a.nii", out, raw) == "bids::sub-01/a.nii"
    assert description.bids_uri(raw / "sub-01/a.nii", out, raw) == "bids:raw:sub-01/a.nii"
    with pytest.raises(ValueError, match="lies neither in"):
        description.bids_uri(tmp_path / "a.nii", out, raw)
    inside = {"fmriprep": str(raw / "derivatives/fmriprep")}
    path = raw / "derivatives/fmriprep/sub-01/a.nii"
    assert description.bids_uri(path, out, raw, inside) == "bids:fmriprep:sub-01/a.nii"


def test_links_to_other_data_sets_stay(tmp_path: Path) -> None:
    raw = write_dataset(tmp_path / "raw", {"01": {None: {}}})
    out, first, second = tmp_path / "out", tmp_path / "first", tmp_path / "second"
    description.write_dataset_description(out, raw, "0.1.0", {"a": str(first)})
    description.write_dataset_description(out, raw, "0.1.0", {"b": str(second), "c": str(raw)})
    description.write_dataset_description(out, raw, "0.1.0")
    content = description.read_json(out / "dataset_description.json")
    links = {"raw": raw, "a": first, "b": second, "c": raw}
    assert content["DatasetLinks"] == {name: path.as_uri() for name, path in links.items()}
    urls = [source["URL"] for source in content["SourceDatasets"]]
    assert urls == [path.as_uri() for path in (raw, first, second)]
    (out / "dataset_description.json").write_text("{", encoding="utf-8")
    description.write_dataset_description(out, raw, "0.1.0")
    content = description.read_json(out / "dataset_description.json")
    assert set(content["DatasetLinks"]) == {"raw"}


def _metadata(path: str, source: str) -> dict[str, object]:
    metadata: dict[str, object] = {
        "Description": "x",
        "Sources": [source],
        "Fingerprint": "0" * 16,
    }
    if path.endswith("_mask.nii.gz"):
        metadata["Type"] = "Brain"
    elif "_components." in path or (path.endswith(".nii.gz") and "seg." not in path):
        metadata["SkullStripped"] = True
    if "_res-" in path:
        metadata["Resolution"] = "2 mm isotropic"
    if "_space-" in path:
        metadata["SpatialReference"] = MNI
    if path.endswith("_bold.nii.gz"):
        metadata |= {"RepetitionTime": 2.0, "TaskName": "rest"}
    return metadata


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return an output folder with one file for every row of the table, twice where it varies."""
    raw = write_dataset(tmp_path / "raw", {"01": {None: {}}})
    out = tmp_path / "out"
    anat = {"to": MNI, "from": MNI, "label": "GM"}
    extra = {"task": "rest", "denoise": "acompcor", "seed": "PCC", "space": MNI, "res": "2"}
    extra |= {"stat": "fisherz", "meas": "fisherz", "contrast": "aGtb", "model": "m"}
    extra |= {"seg": "AAL3"}
    source = "bids:raw:sub-01/anat/sub-01_T1w.nii.gz"
    for product in PRODUCTS:
        allowed = {key: labels[0] for key, labels in product.allowed}
        wanted = {key: ({**extra, **anat, **allowed})[key] for key in product.required}
        if product.suffix == "components":
            wanted.pop("seg")
            paths = [naming.ica_file(product.name, 12, **wanted)]
        elif product.folder == "group":
            wanted = {"model": "m"} | wanted | {"meas": "fisherz"}
            model = wanted.pop("model")
            if product.name == "group_map":
                wanted.pop("stat")
                paths = [naming.group_map(model, "t", **wanted)]
            else:
                table = product.name.removeprefix("group_")
                paths = [naming.group_table(model, table, **wanted)]
        else:
            paths = [naming.derivative(product.name, "01", None, **wanted)]
            if "space" in product.optional or "res" in product.optional:
                std = {**wanted, "space": MNI, "res": "2"}
                paths.append(naming.derivative(product.name, "01", None, **std))
        for path in paths:
            if path.endswith(".nii.gz"):
                shape = (4, 4, 4, 12) if path.endswith("_bold.nii.gz") else (4, 4, 4)
                write_nifti(out / path, np.ones(shape, np.float32), repetition_time=2.0)
            else:
                description.atomic_write(out / path, "a\tb\n1\t2\n")
            description.write_json(out / naming.sidecar(path), _metadata(path, source))
    description.atomic_write(out / naming.figure("01", None, "brainmask"), "<svg/>")
    description.atomic_write(out / naming.report_page("01"), "<html></html>")
    description.atomic_write(out / naming.group_page("m"), "<html></html>")
    description.atomic_write(out / naming.log_dir("01", "x") / "settings.toml", "")
    description.atomic_write(out / "logs" / "CITATION.md", "x\n")
    description.write_dataset_description(out, raw, "0.1.0")
    return out


def validate(tree: Path) -> list[tuple[str, str]]:
    validator = shutil.which("bids-validator-deno", path=Path(sys.executable).parent)
    assert validator is not None
    command = [validator, str(tree), "--ignoreWarnings", "--format", "json"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    issues = json.loads(run.stdout)["issues"]["issues"]
    return [(issue["code"], issue["location"]) for issue in issues]


def test_the_official_validator_passes(tree: Path) -> None:
    assert validate(tree) == []
    # It must be able to fail: every line of .bidsignore is needed.
    (tree / ".bidsignore").write_text("", encoding="utf-8")
    assert {location for code, location in validate(tree) if code == "NOT_INCLUDED"} >= {
        "/sub-01.html",
        "/sub-01/func/sub-01_task-rest_outliers.tsv",
    }


def test_our_walk_passes_and_misses_nothing(tree: Path) -> None:
    assert walk(tree) == []
    t1w = naming.derivative("t1w", "01", space=MNI, res="2")
    sidecar = tree / naming.sidecar(t1w)
    whole = description.read_json(sidecar)
    for key in ("Resolution", "SpatialReference", "SkullStripped", "Fingerprint", "Sources"):
        description.write_json(sidecar, {k: v for k, v in whole.items() if k != key})
        assert len(walk(tree)) == 1
        assert key in walk(tree)[0]
    description.write_json(sidecar, whole | {"Sources": ["bids:raw:sub-09/anat/x.nii"]})
    assert "bids:raw:sub-09" in walk(tree)[0]
    sidecar.unlink()
    assert "has no sidecar" in walk(tree)[0]
    description.write_json(sidecar, whole)
    (tree / t1w).unlink()
    assert "without its file" in walk(tree)[0]
    description.write_json(sidecar, whole | {"Missing": "why"})
    assert walk(tree) == []
    stray = tree / "sub-01" / "func" / "sub-01_task-rest_desc-odd_bold.nii.gz"
    stray.write_bytes(b"")
    problems = walk(tree)
    assert len(problems) == 2
    assert "does not match any product" in problems[0]
    assert "odd" in problems[1]


def test_description_files(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = tree.parent / "raw"
    content = description.read_json(tree / "dataset_description.json")
    assert content["DatasetType"] == "derivative"
    assert content["GeneratedBy"][0]["Name"] == "rls_bids"
    assert "Container" not in content["GeneratedBy"][0]
    assert content["DatasetLinks"]["raw"] == raw.as_uri()
    rows = (tree / "descriptions.tsv").read_text(encoding="utf-8").splitlines()
    assert rows[0] == "desc_id\tdescription"
    labels = [row.split("\t")[0] for row in rows[1:]]
    expected = ["brain", "brainmask", "confounds", "denoisedAcompcor", "global", "hmc"]
    expected += ["modulated", "preproc"]
    assert labels == [f"desc-{label}" for label in expected]
    before = {path: path.stat().st_mtime_ns for path in tree.iterdir() if path.is_file()}
    description.write_dataset_description(tree, raw, "0.1.0")
    assert before == {path: path.stat().st_mtime_ns for path in tree.iterdir() if path.is_file()}
    monkeypatch.setenv("RLS_BIDS_CONTAINER", "rls_bids:0.1.0")
    description.write_dataset_description(tree, raw, "0.1.0")
    content = description.read_json(tree / "dataset_description.json")
    assert content["GeneratedBy"][0]["Container"] == {"Type": "docker", "Tag": "rls_bids:0.1.0"}


def _describe(out: str, raw: str, label: str) -> None:
    path = Path(out) / naming.figure("01", None, label)
    description.atomic_write(path, "<svg/>")
    description.write_dataset_description(out, raw, "0.1.0")


def test_parallel_participants_agree(tmp_path: Path) -> None:
    raw = write_dataset(tmp_path / "raw", {"01": {None: {}}})
    out = tmp_path / "out"
    labels = [f"picture{number}" for number in range(6)]
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        pool.starmap(_describe, [(str(out), str(raw), label) for label in labels])
    rows = (out / "descriptions.tsv").read_text(encoding="utf-8").splitlines()[1:]
    assert [row.split("\t")[0] for row in rows] == [f"desc-{label}" for label in labels]
    assert not list(out.glob(".*descriptions*"))
