"""Homes, caches and threads, before anything heavy is imported."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from rls_bids.engine import environment
from rls_bids.engine.environment import FOLDERS, THREAD_VARIABLES, prepare_environment
from rls_bids.errors import EXIT_CANNOT_WRITE, CannotWriteError


@pytest.fixture(autouse=True)
def _keep_tempdir(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", tempfile.gettempdir())


def test_unset_folders_lie_in_the_work_directory(tmp_path):
    environ = {}
    prepare_environment(str(tmp_path / "a" / "work"), 3, environ)
    for name in (*FOLDERS, "TMPDIR"):
        assert environ[name].startswith(str(tmp_path / "a" / "work"))
    assert all(environ[name] == "3" for name in THREAD_VARIABLES)
    assert environ["NO_ET"] == "1"
    assert environ["MPLBACKEND"] == "Agg"
    assert environ["USER"]
    assert tempfile.tempdir is None


def test_writable_folders_stay_but_tmpdir_does_not(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    environ = {"HOME": str(home), "MPLCONFIGDIR": "/nowhere", "TMPDIR": str(home), "USER": "me"}
    prepare_environment(str(tmp_path / "work"), 1, environ)
    assert environ["HOME"] == str(home)
    assert environ["MPLCONFIGDIR"].startswith(str(tmp_path / "work"))
    assert environ["TMPDIR"].startswith(str(tmp_path / "work"))
    assert environ["USER"] == "me"
    assert "LOGNAME" not in environ


def test_user_without_passwd_entry(tmp_path, monkeypatch):
    import pwd

    def nobody(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    environ = {}
    prepare_environment(str(tmp_path), 1, environ)
    assert environ["USER"] == environ["LOGNAME"]
    assert environ["USER"].startswith("uid")


def test_work_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWriteError) as caught:
        prepare_environment(str(tmp_path / "file" / "work"), 1, {})
    assert caught.value.exit_status == EXIT_CANNOT_WRITE
    assert str(tmp_path / "file" / "work") in caught.value.message


def test_only_light_modules_are_needed():
    code = (
        "import sys; import rls_bids.cli; "
        "print([m for m in ('numpy', 'nipype', 'bids', 'tempfile') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert environment.__doc__


def test_heavy_libraries_start_without_any_environment(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]);"
        "from rls_bids.engine.environment import prepare_environment;"
        "prepare_environment(sys.argv[1], 1); import nipype, bids, matplotlib.pyplot"
    )
    root = str(Path(environment.__file__).parents[2])
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "work"), root],
        env={}, cwd=tmp_path, check=True,
    )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
