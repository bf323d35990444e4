"""File names: one table of products, and the functions that turn a product into a path and back.

Nothing else in the package composes or takes apart a file name. Paths are relative to the output
folder and always POSIX. A name is built from the table row, the participant, the session and
the entities, in one fixed order, so that two different results cannot meet in one path.
"""

import re
from dataclasses import dataclass
from typing import Literal

from rls_bids.dataset.products import ENTITY_ORDER, PRODUCTS, STRATEGY_DESC, Product
from rls_bids.errors import UsageError
from rls_bids.records import Entities

UNNAMEABLE = "The name {name!r} has no letter or digit, so no file can be named after it."
WRONG_ENTITIES = "{product}: missing entities {missing}, unexpected {extra}."
WRONG_LABEL = "{product}: {entity}-{label} is not one of {allowed}."
NOT_OURS = "{path} does not match any product of rls_bids: {reason}."

ICA = "ICA"
"""What ``seg-`` of the components of a group ICA starts with; their number follows."""

_LABEL = re.compile(r"[A-Za-z0-9+]+")
_EXTENSIONS = (".nii.gz", ".tsv", ".json", ".h5", ".txt", ".svg", ".png")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A path taken apart; ``participant`` is ``None`` for results of the group."""

    product: str
    participant: str | None
    session: str | None
    entities: Entities


_BY_NAME = {product.name: product for product in PRODUCTS}


def camel_label(name: str) -> str:
    """Turn a name into a BIDS label: letters, digits and ``+`` only.

    Other characters are dropped and the letter after them becomes a capital. The same label comes
    back unchanged. Raises :class:`~rls_bids.errors.UsageError` when nothing is left.

    Examples
    --------
    >>> camel_label("thal_VPL_L"), camel_label("acompcor_gsr"), camel_label("thalVPLL")
    ('thalVPLL', 'acompcorGsr', 'thalVPLL')
    """
    pieces = _LABEL.findall(name)
    if not pieces:
        raise UsageError(UNNAMEABLE.format(name=name))
    return str(pieces[0]) + "".join(piece[0].upper() + piece[1:] for piece in pieces[1:])


def contrast_label(first: str, second: str) -> str:
    """Return the label of the contrast *first* minus *second*.

    Examples
    --------
    >>> contrast_label("RLS", "HC")
    'RLSGtHC'
    """
    return camel_label(f"{first} gt {second}")


def _written(product: Product, given: dict[str, str]) -> dict[str, str]:
    """Return the entities as the file name has them, after checking them against the row."""
    known = {*product.required, *product.optional}
    missing = [entity for entity in product.required if entity not in given]
    extra = sorted(set(given) - known)
    if missing or extra:
        raise ValueError(WRONG_ENTITIES.format(product=product.name, missing=missing, extra=extra))
    for entity, allowed in product.allowed:
        label = given.get(entity, allowed[0])
        if label not in allowed:
            raise ValueError(
                WRONG_LABEL.format(
                    product=product.name, entity=entity, label=label, allowed=allowed
                )
            )
    written = {**given, **dict(product.fixed)}
    if product.strategy_in_desc:
        label = written.pop("denoise")
        written["desc"] = STRATEGY_DESC + label[0].upper() + label[1:]
    return written


def _stem(written: dict[str, str], suffix: str) -> str:
    pairs = [f"{entity}-{written[entity]}" for entity in ENTITY_ORDER if entity in written]
    return "_".join([*pairs, suffix])


def _owner(participant: str, session: str | None) -> dict[str, str]:
    owner = {"sub": camel_label(participant)}
    return owner if session is None else owner | {"ses": camel_label(session)}


def _labels(entities: dict[str, str | None]) -> dict[str, str]:
    """Return the given labels, cleaned; ``from_`` stands for ``from``, a word of Python's own."""
    return {
        name.removesuffix("_"): camel_label(value)
        for name, value in entities.items()
        if value is not None
    }


def derivative(
    product: str, participant: str, session: str | None = None, **entities: str | None
) -> str:
    """Return the relative path of one output of a participant.

    Parameters
    ----------
    product : str
        Name of a row of :data:`PRODUCTS`.
    participant, session : str
        Labels without prefix; ``session`` is ``None`` where the data have none.
    **entities : str
        Labels by short entity name; ``None`` leaves the entity out. Values go through
        :func:`camel_label`, so names of seeds and strategies may be given as they are.

    Raises
    ------
    ValueError
        An entity is missing or does not belong to the product (a defect of the caller).

    Examples
    --------
    >>> derivative("t1w", "01", "A", space="MNI152NLin2009cAsym", res="2")
    'sub-01/ses-A/anat/sub-01_ses-A_space-MNI152NLin2009cAsym_res-2_desc-preproc_T1w.nii.gz'
    >>> derivative("t1w_to_std_xfm", "01", to="MNI152NLin2009cAsym")
    'sub-01/anat/sub-01_from-T1w_to-MNI152NLin2009cAsym_mode-image_xfm.h5'
    """
    row = _BY_NAME[product]
    owner = _owner(participant, session)
    name = _stem(owner | _written(row, _labels(entities)), row.suffix) + row.extension
    folders = [f"{entity}-{label}" for entity, label in owner.items()]
    return "/".join([*folders, row.folder, name])


def _extension(path: str) -> str:
    for extension in _EXTENSIONS:
        if path.endswith(extension):
            return extension
    raise ValueError(NOT_OURS.format(path=path, reason="its extension is unknown"))


def sidecar(path: str) -> str:
    """Return the path of the JSON file that goes with an output.

    Examples
    --------
    >>> sidecar("sub-01/anat/sub-01_desc-preproc_T1w.nii.gz")
    'sub-01/anat/sub-01_desc-preproc_T1w.json'
    """
    return path[: -len(_extension(path))] + ".json"


def figure(
    participant: str,
    session: str | None,
    what: str,
    *,
    suffix: str | None = None,
    extension: Literal["svg", "png"] = "svg",
    **entities: str | None,
) -> str:
    """Return the relative path of a picture of the participant page.

    ``suffix`` is ``bold`` when a task is given and ``T1w`` otherwise, unless stated.

    Examples
    --------
    >>> figure("01", None, "carpet", task="rest", run="1")
    'sub-01/figures/sub-01_task-rest_run-1_desc-carpet_bold.svg'
    """
    owner = _owner(participant, session)
    written = owner | _labels(entities) | {"desc": camel_label(what)}
    _check_known(what, written)
    name = _stem(written, suffix or ("bold" if "task" in written else "T1w"))
    return f"sub-{owner['sub']}/figures/{name}.{extension}"


def _check_known(what: str, entities: dict[str, str]) -> None:
    unknown = sorted(set(entities) - set(ENTITY_ORDER))
    if unknown:
        raise ValueError(WRONG_ENTITIES.format(product=what, missing=[], extra=unknown))


def report_page(participant: str, session: str | None = None) -> str:
    """Return the relative path of a participant's page, or of one session's.

    Examples
    --------
    >>> report_page("01"), report_page("01", "A")
    ('sub-01.html', 'sub-01_ses-A.html')
    """
    return _stem(_owner(participant, session), "")[:-1] + ".html"


def log_dir(participant: str | None, run_id: str) -> str:
    """Return the relative path of the log folder of one run (``None``: of the group level)."""
    return f"{'group' if participant is None else f'sub-{camel_label(participant)}'}/log/{run_id}"


def group_map(model: str, stat: str, **entities: str | None) -> str:
    """Return the relative path of a group map.

    Examples
    --------
    >>> group_map("patients", "t", task="rest", space="MNI152NLin2009cAsym", res="2",
    ...           denoise="acompcor", seed="PCC", meas="fisherz", contrast="RLSGtHC")
    'group/model-patients/model-patients_task-rest_space-MNI152NLin2009cAsym_res-2_denoise-acompcor_seed-PCC_meas-fisherz_contrast-RLSGtHC_stat-t_statmap.nii.gz'
    """
    return _group_path("group_map", model, {**entities, "stat": stat})


def group_table(model: str, table: str, **entities: str | None) -> str:
    """Return the relative path of one of the group tables (:data:`.GROUP_TABLES`).

    Examples
    --------
    >>> group_table("patients", "design", task="rest", denoise="acompcor")
    'group/model-patients/model-patients_task-rest_denoise-acompcor_design.tsv'
    """
    return _group_path(f"group_{table}", model, entities)


def ica_file(product: str, n_components: int, **entities: str | None) -> str:
    """Return the relative path of the components of a group ICA, or of their table.

    ``seg-`` names the set: it becomes part of the names of what is made with the components.

    Examples
    --------
    >>> ica_file("components", 12, task="rest", space="MNI152NLin2009cAsym", res="2",
    ...          denoise="acompcor")
    'group/ica-12/task-rest_space-MNI152NLin2009cAsym_seg-ICA12_res-2_denoise-acompcor_components.nii.gz'
    """
    row = _BY_NAME[product]
    written = _written(row, _labels({**entities, "seg": f"{ICA}{n_components}"}))
    return f"{_ica_folder(n_components)}/{_stem(written, row.suffix)}{row.extension}"


def ica_figure(n_components: int, index: int, **entities: str | None) -> str:
    """Return the relative path of the picture of one component, counted from 1."""
    number = f"{index:0{len(str(n_components))}d}"
    written = _labels({**entities, "seg": f"{ICA}{n_components}", "label": number})
    _check_known("component", written)
    return f"{_ica_folder(n_components)}/figures/{_stem(written, 'components')}.svg"


def ica_page(n_components: int) -> str:
    """Return the relative path of the page of a group ICA."""
    return f"{_ica_folder(n_components)}.html"


def _ica_folder(n_components: int) -> str:
    return f"group/ica-{n_components}"


def _rebuilt(product: Product, entities: dict[str, str]) -> str:
    """Return the path that a result of the group with these entities has."""
    given: dict[str, str | None] = {**entities}
    if "model" in product.required:
        return _group_path(product.name, entities["model"], {**given, "model": None})
    head, _, number = entities["seg"].partition(ICA)
    is_set = not head and re.fullmatch(r"[1-9]\d*", number)
    return ica_file(product.name, int(number), **{**given, "seg": None}) if is_set else ""


def group_matrix(model: str, **entities: str | None) -> str:
    """Return the relative path of a matrix of a group comparison.

    Examples
    --------
    >>> group_matrix("patients", task="rest", seg="AAL3", denoise="24P", contrast="RLSGtHC",
    ...              meas="pearsoncorrelation", stat="t")
    'group/model-patients/model-patients_task-rest_seg-AAL3_denoise-24P_meas-pearsoncorrelation_contrast-RLSGtHC_stat-t_matrix.tsv'
    """
    return _group_path("group_matrix", model, entities)


def group_labels(model: str, **entities: str | None) -> tuple[str, str]:
    """Return the relative paths of a label image of clusters and of the table of their names.

    They share a sidecar.

    Examples
    --------
    >>> image, names = group_labels("patients", task="rest", space="MNI152NLin2009cAsym",
    ...                             denoise="acompcor", meas="alff", contrast="RLSGtHC",
    ...                             desc="tfceFWE")
    >>> image == names.replace(".tsv", ".nii.gz"), sidecar(image) == sidecar(names)
    (True, True)
    """
    image, names = (
        _group_path(product, model, entities) for product in ("group_labels", "group_label_names")
    )
    return image, names


def _group_path(product: str, model: str, entities: dict[str, str | None]) -> str:
    row = _BY_NAME[product]
    label = camel_label(model)
    written = _written(row, {**_labels(entities), "model": label})
    return f"group/model-{label}/{_stem(written, row.suffix)}{row.extension}"


def group_figure(
    model: str, what: str, *, extension: Literal["svg", "png"] = "svg", **entities: str | None
) -> str:
    """Return the relative path of a picture of the group page."""
    label = camel_label(model)
    written = _labels(entities) | {"model": label, "desc": camel_label(what)}
    _check_known(what, written)
    return f"group/model-{label}/figures/{_stem(written, 'statmap')}.{extension}"


def group_page(model: str) -> str:
    """Return the relative path of the page of a group model."""
    return f"group/model-{camel_label(model)}.html"


def _split(path: str) -> tuple[dict[str, str], str, str]:
    """Return the entities, the suffix and the extension of a file name."""
    name = path.rsplit("/", 1)[-1]
    extension = _extension(name)
    *pairs, suffix = name[: -len(extension)].split("_")
    entities: dict[str, str] = {}
    for pair in pairs:
        entity, dash, label = pair.partition("-")
        if entity not in ENTITY_ORDER or not dash or not _LABEL.fullmatch(label):
            raise ValueError(NOT_OURS.format(path=path, reason=f"{pair!r} is no entity"))
        if entity in entities:
            raise ValueError(NOT_OURS.format(path=path, reason=f"{entity}- stands there twice"))
        entities[entity] = label
    return entities, suffix, extension


def _read(product: Product, written: dict[str, str]) -> dict[str, str] | None:
    """Return the caller's entities when the written ones fit the row."""
    given = dict(written)
    if product.strategy_in_desc:
        head, found, label = given.pop("desc", "").partition(STRATEGY_DESC)
        if head or not found or not label:
            return None
        given["denoise"] = label[0].lower() + label[1:]
    for entity, label in product.fixed:
        if given.pop(entity, None) != label:
            return None
    try:
        fits = _written(product, given) == written
    except ValueError:
        return None
    return given if fits else None


def parse(path: str) -> Parsed:
    """Take an output's path apart; the inverse of :func:`derivative` and the group functions.

    Raises
    ------
    ValueError
        The path is not one that the table makes.

    Examples
    --------
    >>> parse("sub-01/func/sub-01_task-rest_run-1_desc-confounds_timeseries.tsv").product
    'confounds'
    """
    written, suffix, extension = _split(path)
    participant, session = written.pop("sub", None), written.pop("ses", None)
    for product in PRODUCTS:
        if (product.suffix, product.extension) != (suffix, extension):
            continue
        if (product.folder == "group") != (participant is None):
            continue
        given = _read(product, written)
        if given is None:
            continue
        if participant is None:
            rebuilt = _rebuilt(product, given)
        else:
            rebuilt = derivative(product.name, participant, session, **given)
        if rebuilt == path:
            entities = tuple(sorted(given.items()))
            return Parsed(
                product=product.name, participant=participant, session=session, entities=entities
            )
    raise ValueError(NOT_OURS.format(path=path, reason="no row of the table makes this name"))
