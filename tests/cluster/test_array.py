"""Jobs on a real scheduler: an array, one task broken, one killed, the failed ones again."""

import csv
from pathlib import Path

import pytest

from rls_bids.cluster import status

pytestmark = pytest.mark.slurm

# Few and quick: the scheduler is tested, not the measures.
QUICK = ("--measures", "seed", "--seed-networks", "salience", "--min-time", "0")
BROKEN, KILLED = "sub-HC002", "sub-RLS002"
HOG = "import time; taken = bytearray(6_000_000_000); time.sleep(600)"


def left_out(out: Path) -> set[str]:
    """Return who is not in the group model."""
    (table, *_) = sorted(out.glob("group/model-group/*_participants.tsv"))
    with table.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert len(rows) == 6
    return {row["participant_id"] for row in rows if row["included"] == "no"}


def test_an_array_with_a_broken_and_a_killed_task(cluster, cohort: Path, tmp_path: Path) -> None:
    out, hungry = tmp_path / "out put", tmp_path / "hungry"
    (bold,) = cohort.glob(f"{BROKEN}/func/*_desc-preproc_bold.nii.gz")
    bold.write_bytes(bold.read_bytes()[:20_000])
    hungry.touch()
    eater = f'[ -e "{hungry}" ] && [ "$name" = {KILLED} ] && (sleep 8; exec python3 -c "{HOG}") &'
    done = cluster.run(
        *("write", cohort, out, "--work-dir", tmp_path / "scratch", "--setup", eater),
        *("--mem", "3G", "--cpus", 1, "--time", 60, "--submit"),
        *("--", "--derivatives", cohort, "--covariates", "mean_fd", *QUICK),
    )
    assert done.returncode == 0, done.stderr
    first = cluster.status(out)
    assert {state for state, _ in first.values()} <= {"waiting", "running"}
    assert first["group"] == ("waiting", "Dependency")

    found = cluster.wait(out)
    states = {name: state for name, (state, _) in found.items()}
    well = {f"sub-{label}" for label in ("HC001", "HC003", "RLS001", "RLS003")}
    assert {name for name, state in states.items() if state == "done"} == {*well, "group"}, found
    assert states[BROKEN] == states[KILLED] == "failed"
    assert found[KILLED][1] == status.OUT_OF_MEMORY
    assert found[BROKEN][1].startswith("exit 65: ")
    assert bold.name in found[BROKEN][1]
    assert left_out(out) == {BROKEN, KILLED}
    assert (out / "group" / "model-group.html").is_file()
    pages = {path.stem for path in out.glob("sub-*.html")}
    assert well <= pages
    assert BROKEN in pages
    before = {path.name for path in (out / "logs" / "jobs" / "log").iterdir()}

    hungry.unlink()
    done = cluster.run("resubmit", out, "--mem", "4G")
    assert done.returncode == 0, done.stderr
    assert "Submitted tasks 2,5 as job" in done.stdout
    found = cluster.wait(out)
    assert found[KILLED][0] == found["group"][0] == "done", found
    assert found[BROKEN][0] == "failed"
    assert left_out(out) == {BROKEN}
    logs = {path.name for path in (out / "logs" / "jobs" / "log").iterdir()} - before
    assert sorted(name.partition("_")[0] for name in logs) == ["group", "task-2", "task-5"]


def test_sessions_of_one_participant_at_the_same_time(
    cluster, sessions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out put"
    done = cluster.run(
        *("write", sessions, out, "--work-dir", tmp_path / "scratch", "--by-session"),
        *("--mem", "3G", "--cpus", 1, "--no-group", "--submit"),
        *("--", "--derivatives", sessions, "--participant-label", "HC001", *QUICK),
    )
    assert done.returncode == 0, done.stderr
    found = cluster.wait(out)
    names = {f"sub-HC001_ses-{session}" for session in ("pre", "post")}
    assert found == dict.fromkeys(names, ("done", "n/a"))
    assert {path.stem for path in out.glob("*.html")} == names
    starts = [status.read_state(path) for path in (out / "logs" / "jobs" / "state").iterdir()]
    # They did run side by side.
    assert max(int(one["start"]) for one in starts) < min(int(one["end"]) for one in starts)
    rows = (out / "descriptions.tsv").read_text(encoding="utf-8").splitlines()
    assert "desc-confounds" in {row.partition("\t")[0] for row in rows}
    assert not [path for path in out.rglob(".*") if path.name != ".bidsignore"]
