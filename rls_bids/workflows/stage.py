"""What a stage of the road is: its products, and the fingerprint that makes them valid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rls_bids.dataset.description import bids_uri, is_finished, read_json
from rls_bids.dataset.naming import sidecar
from rls_bids.paths import named_folders
from rls_bids.records import Entities, Session
from rls_bids.resources.grids import native_size
from rls_bids.resources.templates import BASE, NATIVE
from rls_bids.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One file: `key` within its stage, path relative to the output directory, static sidecar."""

    key: str
    path: str
    metadata: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The products and figures of one stage, valid for one fingerprint."""

    fingerprint: str
    products: tuple[Product, ...]
    figures: tuple[str, ...] = ()

    def product(self, key: str) -> Product:
        """Return the product called `key`."""
        return next(product for product in self.products if product.key == key)

    def __contains__(self, key: object) -> bool:
        """Whether the stage writes a product called `key`."""
        return any(product.key == key for product in self.products)

    def is_finished(self, output_dir: str) -> bool:
        """Whether every product is valid on disk and every figure is there."""
        root = Path(output_dir)
        if not all(is_finished(root, each.path, self.fingerprint) for each in self.products):
            return False
        if any("Missing" in read_json(root / sidecar(each.path)) for each in self.products):
            return True  # what could not be made has no picture either
        return all((root / figure).is_file() for figure in self.figures)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where products go, where they come from, and how their standard space is called.

    ``resolution`` is the label of the grid (``res-``), ``size_mm`` the edge of its voxels.
    """

    output_dir: str
    bids_dir: str
    derivatives: Mapping[str, str]
    space: str
    resolution: str
    size_mm: str

    @property
    def std(self) -> dict[str, Any]:
        """Entities of an image on the standard grid."""
        return {"space": self.space, "res": self.resolution}


def place_of(settings: Settings, size_mm: str = BASE) -> Place:
    """Return where the products of this call go; ``size_mm`` is for a native grid."""
    resolution = settings.anat.resolution
    return Place(
        output_dir=settings.input.output_dir,
        bids_dir=settings.input.bids_dir,
        derivatives=named_folders(settings.input.derivatives),
        space=settings.anat.space,
        resolution=resolution,
        size_mm=size_mm if resolution == NATIVE else resolution,
    )


def session_place(session: Session, settings: Settings) -> Place:
    """Return where the products of a session go: its native grid fits its coarsest run."""
    sizes = [run.voxel_size_mm for run in session.runs if run.voxel_size_mm]
    return place_of(settings, native_size(sizes) if sizes else BASE)


def local_place(session: Session, settings: Settings) -> Place | None:
    """Return where local measures go, a grid no finer than acquired; None where unknown."""
    sizes = [run.voxel_size_mm for run in session.runs if run.voxel_size_mm]
    if len(sizes) < len(session.runs):
        return None
    return replace(place_of(settings), resolution=NATIVE, size_mm=native_size(sizes))


def anat_place(settings: Settings) -> Place:
    """Return where the anatomy goes: its images do not follow the grid of a BOLD series."""
    place = place_of(settings)
    return replace(place, resolution=place.size_mm)


def make_product(
    place: Place,
    stamp: str,
    key: str,
    path: str,
    description: str,
    sources: Sequence[str],
    **extra: object,
) -> Product:
    """Return a product with its sidecar: description, sources as BIDS URIs, what else is told."""
    roots = (place.output_dir, place.bids_dir, place.derivatives)
    metadata: dict[str, object] = {
        "Description": description,
        "Sources": [bids_uri(source, *roots) for source in sources],
        **extra,
        "Fingerprint": stamp,
    }
    if "_res-" in path:
        metadata["Resolution"] = f"{place.size_mm} mm isotropic"
    if "_space-T1w_" in path:
        metadata["SpatialReference"] = bids_uri(sources[-1], *roots)
    elif "_space-" in path:
        metadata["SpatialReference"] = place.space
    return Product(key=key, path=path, metadata=metadata)


def common_entities(session: Session) -> Entities:
    """Return what all runs of a session share in their names: the name of their combination."""
    shared = set(session.runs[0].entities).intersection(*(run.entities for run in session.runs))
    return tuple(sorted(pair for pair in shared if pair[0] != "run"))
