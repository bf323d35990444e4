"""Check an installation before it becomes an image: every bundled template and atlas is there.

    PYTHONPYCACHEPREFIX=FOLDER python check.py NOTICE OUT

Each file is read and compared with its SHA-256 by the app itself. OUT gets the notices, and the
atlases with their licences. All that the app imports is imported once, so that its compiled form
lies in FOLDER and no start has to compile it again.
"""

import ast
import importlib
import sys
from pathlib import Path

import rls_bids
from rls_bids.resources import load_seeds
from rls_bids.resources.atlases import TEMPLATEFLOW, is_available, list_atlases, load_atlases
from rls_bids.resources.parcels import load_parcels
from rls_bids.resources.regions import find_place, is_file
from rls_bids.resources.spaces import load_fields
from rls_bids.resources.templates import BUILT_IN_SPACE, RESOLUTIONS, locate_template
from rls_bids.resources.tissue import load_grey_matter

PACKAGE = Path(rls_bids.__file__).parent
OPTIONAL = {"deepbet"}


def check_files() -> None:
    """Read all that comes with the image."""
    for resolution in RESOLUTIONS:
        locate_template(BUILT_IN_SPACE, resolution)
    load_grey_matter()
    load_fields()
    bundled = [atlas for atlas in load_atlases() if atlas.package != TEMPLATEFLOW]
    missing = [atlas.name for atlas in bundled if not is_available(atlas)]
    if missing:
        sys.exit(f"The image lacks the files of {', '.join(missing)}.")
    for atlas in bundled:
        load_parcels(atlas)
    for seed in load_seeds():
        if seed.mask and not is_file(seed.mask):
            find_place(seed.mask)


def imported_names() -> set[str]:
    """Return all modules that the sources import, also inside functions."""
    names = set()
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if parts[-1] != "__main__":
            names.add(".".join(part for part in parts if part != "__init__"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module)
    return {name for name in names if name.partition(".")[0] not in OPTIONAL}


def write_notices(notice: Path, out: Path) -> None:
    """Write what may be done with what came along."""
    out.mkdir(parents=True)
    (out / "NOTICE").write_bytes(notice.read_bytes())
    (out / "atlases.tsv").write_text(list_atlases(), encoding="utf-8")


def main(notice: Path, out: Path) -> None:
    """Check, import, and write the notices."""
    check_files()
    for name in sorted(imported_names()):
        importlib.import_module(name)
    write_notices(notice, out)
    print(f"{len(sys.modules)} modules are imported")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
