"""Which folders a call may read and write: names of derivative data sets, and no overlap."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from rls_bids.errors import UsageError

OUTPUT_IN_INPUT = "The output directory {output} is the input data set {bids} or lies in it."
OUTPUT_HINT = "Use {bids}/derivatives/rls_bids (only derivatives/NAME may be there), or outside."
WORK_IN_INPUT = "The work directory {work} lies in the input data set {bids}."
WORK_IS_OUTPUT = "The work directory {work} is also the output directory."
WORK_HINT = "Name another folder with -w, best on a fast local disk."
OUTPUT_IN_DERIVATIVES = "The output directory {output} is the data set {path} or lies in it."
OUTPUT_IN_DERIVATIVES_HINT = "What --derivatives names is only read: choose another folder."
TWO_DERIVATIVES = "--derivatives calls both {first} and {second} {name!r}."
TWO_DERIVATIVES_HINT = "Give each a name of its own: NAME=PATH."
RESERVED_NAME = "--derivatives calls {path} {name!r}, which is the name of BIDS_DIR."

RESERVED = "raw"
_NAMED = re.compile(r"([A-Za-z0-9][\w.+-]*)=(.+)")


def named_folders(texts: Sequence[str]) -> dict[str, str]:
    """Take ``[NAME=]PATH`` apart: absolute paths by name; without one, by the folder's own name.

    Raises
    ------
    UsageError
        Two folders share a name, or one is called like the input data set.

    Examples
    --------
    >>> named_folders(["/data/fmriprep", "lts=/data/fmriprep-20.2.7"])
    {'fmriprep': '/data/fmriprep', 'lts': '/data/fmriprep-20.2.7'}
    """
    folders: dict[str, str] = {}
    for text in texts:
        match = _NAMED.fullmatch(text)
        path = str(Path(match[2] if match else text).resolve())
        name = match[1] if match else re.sub(r"[^\w.+-]+", "_", Path(path).name)
        if name == RESERVED:
            message = RESERVED_NAME.format(path=path, name=name)
            raise UsageError(message, TWO_DERIVATIVES_HINT)
        if folders.setdefault(name, path) != path:
            message = TWO_DERIVATIVES.format(first=folders[name], second=path, name=name)
            raise UsageError(message, TWO_DERIVATIVES_HINT)
    return folders


def check_paths(bids_dir: str, output_dir: str, work_dir: str, others: Mapping[str, str]) -> None:
    """Keep the outputs and the scratch files out of the input and of other derivatives.

    Raises
    ------
    UsageError
        They overlap.
    """
    bids, output, work = Path(bids_dir), Path(output_dir), Path(work_dir)
    if output.is_relative_to(bids) and bids / "derivatives" not in output.parents:
        message = OUTPUT_IN_INPUT.format(output=output, bids=bids)
        raise UsageError(message, OUTPUT_HINT.format(bids=bids))
    if work.is_relative_to(bids):
        raise UsageError(WORK_IN_INPUT.format(work=work, bids=bids), WORK_HINT)
    if work == output:
        raise UsageError(WORK_IS_OUTPUT.format(work=work), WORK_HINT)
    for path in others.values():
        if output.is_relative_to(path) and Path(path, "derivatives") not in output.parents:
            message = OUTPUT_IN_DERIVATIVES.format(output=output, path=path)
            raise UsageError(message, OUTPUT_IN_DERIVATIVES_HINT)
        if work.is_relative_to(path):
            raise UsageError(WORK_IN_INPUT.format(work=work, bids=path), WORK_HINT)
