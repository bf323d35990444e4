"""The table of products: every kind of file that the package writes, and what it is called.

A new kind of output is one row here; names, parsing, sidecar checks and tests follow from it.
"""

from dataclasses import dataclass, replace
from typing import Literal

from rls_bids.measures import LOCAL_STATS, MEASURES
from rls_bids.numerics.local import SCALES
from rls_bids.records import Entities

ENTITY_ORDER = (
    *("sub", "ses", "model", "task", "acq", "ce", "rec", "dir", "run", "from", "to", "mode"),
    *("space", "seg", "res", "label", "denoise", "seed", "meas", "contrast", "stat", "desc"),
)
RUN_ENTITIES = ("acq", "ce", "rec", "dir", "run")
GROUP_TABLES = ("clusters", "design", "family", "maxima", "participants", "roi")
PARCEL_STATS = ("mean", "coverage")
MATRIX_MEASURES = ("pearsoncorrelation", "partialcorrelation", "shrunkencorrelation", "fisherz")
GRAPH_TABLES = ("global", "nodal", "globalNegative", "nodalNegative")
MATRIX_SETS = ("networks", "lobes")
GROUP_STATS = (
    *("effect", "variance", "t", "F", "z", "p", "logp", "tfce", "coverage"),
    *("hedgesg", "dz", "partialr", "partialeta2"),
)
GROUP_MATRIX_STATS = ("effect", "t", "f", "z", "p", "r", "label")


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One row of the table: what a kind of output is called.

    ``fixed`` are entities with a constant label, ``required`` and ``optional`` those the caller
    gives. ``strategy_in_desc`` holds where BIDS knows the suffix and has no ``denoise-``: the
    strategy is then written ``desc-denoised<Strategy>``. ``allowed`` limits an entity to certain
    labels.
    """

    name: str
    folder: Literal["anat", "func", "group"]
    suffix: str
    extension: str
    fixed: Entities = ()
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    strategy_in_desc: bool = False
    allowed: tuple[tuple[str, tuple[str, ...]], ...] = ()


def _anat(name: str, suffix: str, extension: str = ".nii.gz", **rest: object) -> Product:
    return Product(name=name, folder="anat", suffix=suffix, extension=extension, **rest)  # type: ignore[arg-type]


def _func(
    name: str,
    suffix: str,
    extension: str = ".nii.gz",
    required: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    **rest: object,
) -> Product:
    return Product(
        name=name,
        folder="func",
        suffix=suffix,
        extension=extension,
        required=("task", *required),
        optional=(*RUN_ENTITIES, *optional),
        **rest,  # type: ignore[arg-type]
    )


def _group(
    name: str, suffix: str, extension: str, required: tuple[str, ...], optional: tuple[str, ...]
) -> Product:
    return Product(
        name=name,
        folder="group",
        suffix=suffix,
        extension=extension,
        required=("model", "task", "denoise", *required),
        optional=optional,
        allowed=(("stat", GROUP_STATS),),
    )


def _of_ica(name: str, extension: str) -> Product:
    return Product(
        name=name,
        folder="group",
        suffix="components",
        extension=extension,
        required=("task", "space", "seg", "denoise"),
        optional=("res",),
    )


STRATEGY_DESC = "denoised"

_STD = ("space", "res")
_XFM = (("mode", "image"),)

PRODUCTS: tuple[Product, ...] = (
    _anat("t1w", "T1w", fixed=(("desc", "preproc"),), optional=_STD),
    _anat("t1w_mask", "mask", fixed=(("desc", "brain"),), optional=_STD),
    _anat("dseg", "dseg", optional=_STD),
    _anat(
        "probseg",
        "probseg",
        required=("label",),
        optional=_STD,
        allowed=(("label", ("GM", "WM", "CSF")),),
    ),
    _anat(
        "modulated",
        "probseg",
        required=("label",),
        optional=_STD,
        fixed=(("desc", "modulated"),),
        allowed=(("label", ("GM",)),),
    ),
    _anat(
        "t1w_to_std_xfm",
        "xfm",
        ".h5",
        fixed=(("from", "T1w"), *_XFM),
        required=("to",),
    ),
    _anat(
        "std_to_t1w_xfm",
        "xfm",
        ".h5",
        fixed=(*_XFM, ("to", "T1w")),
        required=("from",),
    ),
    _func("boldref", "boldref"),
    _func("boldref_std", "boldref", required=("space",), optional=("res",)),
    _func(
        "bold_mask_std",
        "mask",
        required=("space",),
        optional=("res",),
        fixed=(("desc", "brain"),),
    ),
    _func("boldref_to_t1w_xfm", "xfm", ".txt", fixed=(("from", "boldref"), *_XFM, ("to", "T1w"))),
    _func(
        "hmc_xfm",
        "xfm",
        ".txt",
        fixed=(("desc", "hmc"), ("from", "orig"), *_XFM, ("to", "boldref")),
    ),
    _func("confounds", "timeseries", ".tsv", fixed=(("desc", "confounds"),)),
    _func("outliers", "outliers", ".tsv"),
    _func("quality", "quality", ".tsv"),
    _func("design", "design", ".tsv", required=("denoise",)),
    _func(
        "preproc_bold",
        "bold",
        required=("space",),
        optional=("res",),
        fixed=(("desc", "preproc"),),
    ),
    _func(
        "denoised_bold",
        "bold",
        required=("space", "denoise"),
        optional=("res",),
        strategy_in_desc=True,
    ),
    _func(
        "seed_map",
        "statmap",
        required=("space", "denoise", "seed", "stat"),
        optional=("res",),
        allowed=(("stat", tuple(stat.name for stat in MEASURES["seed"].stats)),),
    ),
    _func(
        "local_map",
        "boldmap",
        required=("space", "denoise", "stat"),
        optional=("res", "desc"),
        allowed=(("stat", LOCAL_STATS), ("desc", SCALES[1:])),
    ),
    _func(
        "parcel_series",
        "timeseries",
        ".tsv",
        required=("space", "seg", "denoise", "stat"),
        allowed=(("stat", PARCEL_STATS),),
    ),
    _func(
        "relmat",
        "relmat",
        ".tsv",
        required=("space", "seg", "denoise", "meas"),
        optional=("desc",),
        allowed=(("meas", MATRIX_MEASURES), ("desc", MATRIX_SETS)),
    ),
    _func(
        "graph",
        "graph",
        ".tsv",
        required=("space", "seg", "denoise", "meas", "desc"),
        allowed=(("meas", MATRIX_MEASURES[:1]), ("desc", GRAPH_TABLES)),
    ),
    _group(
        "group_map",
        "statmap",
        ".nii.gz",
        ("space", "meas", "contrast", "stat"),
        ("res", "seed", "desc"),
    ),
    *(
        _group(
            f"group_{name}",
            "dseg",
            extension,
            ("space", "meas", "contrast"),
            ("res", "seed", "desc"),
        )
        for name, extension in (("labels", ".nii.gz"), ("label_names", ".tsv"))
    ),
    *(
        _group(f"group_{table}", table, ".tsv", (), ("seg", "seed", "meas", "contrast", "desc"))
        for table in GROUP_TABLES
    ),
    _of_ica("components", ".nii.gz"),
    _of_ica("components_table", ".tsv"),
    replace(
        _group("group_matrix", "matrix", ".tsv", ("seg", "meas", "contrast"), ("stat", "desc")),
        allowed=(("stat", GROUP_MATRIX_STATS),),
    ),
)
