"""Series of other programs on the output grid: what denoising starts from, without ours before."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from rls_bids.errors import InputDataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NO_BRAIN = "{path} marks no voxel on the output grid; a brain mask was expected."
NOT_IN_SPACE = (
    "{path} lies to {found:.0%} inside the brain of {space}; at least {expected:.0%} was expected."
)
NOT_IN_SPACE_HINT = "Its name says {space}, but it is in another space: look at both in a viewer."
TISSUES = ("GM", "WM", "CSF")

LEAST_INSIDE = 0.5
_BLOCK_VOLUMES = 20
_GRID_TOLERANCE_MM = 1e-3


class LoadPreparedInputSpec(BaseInterfaceInputSpec):
    """Inputs of `LoadPrepared`."""

    in_file = File(exists=True, mandatory=True, desc="preprocessed BOLD series, standard space")
    in_mask = File(exists=True, mandatory=True, desc="brain mask on the grid of the series")
    confounds_file = File(exists=True, mandatory=True, desc="the program's confounds table")
    template = File(exists=True, mandatory=True, desc="brain of the standard head")
    space = traits.Str(mandatory=True, desc="name of the standard space")
    resolution = traits.Str(mandatory=True, desc="of the output grid, mm")
    n_dropped = traits.Int(0, usedefault=True, desc="volumes left out at the start")
    fd_threshold_mm = traits.Float(mandatory=True, desc="0: no outliers")
    repetition_time = traits.Float(mandatory=True, desc="s")
    motion_filter = traits.Dict(desc="record of the filter of breathing; empty: none")
    content = traits.Str("", usedefault=True, desc="hash of all inputs, sidecars included")
    version = traits.Str(mandatory=True, desc="kernel version")


class LoadPreparedOutputSpec(TraitedSpec):
    """Outputs of `LoadPrepared`."""

    series = File(exists=True, desc="(n_volumes, n_voxels) float32, .npy")
    mask = File(exists=True, desc="brain voxels inside the field of view")
    tsnr = File(exists=True, desc="(n_voxels,) temporal signal-to-noise ratio, .npy")
    boldref_std = File(exists=True, desc="temporal mean in standard space")
    confounds = File(exists=True, desc="table with our column names, completed")
    metadata = File(exists=True, desc="what is known of the components, .json")
    outliers = File(exists=True, desc="one column per outlier volume")


class LoadPrepared(SimpleInterface):
    """Mask a preprocessed series, interpolate it if need be, and complete its confounds."""

    input_spec = LoadPreparedInputSpec
    output_spec = LoadPreparedOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.interfaces.images import save_mask, save_masked
        from rls_bids.numerics.confounds import temporal_snr
        from rls_bids.resources.grids import standard_head

        given, folder = self.inputs, Path(runtime.cwd)
        _, head, affine = standard_head(given.template, given.space, given.resolution)
        data, mask = on_grid(given.in_file, given.in_mask, given.n_dropped, head.shape, affine)
        inside = head[mask].mean()
        if inside < LEAST_INSIDE:
            message = NOT_IN_SPACE.format(
                path=given.in_mask, found=inside, space=given.space, expected=LEAST_INSIDE
            )
            raise InputDataError(message, NOT_IN_SPACE_HINT.format(space=given.space))
        np.save(folder / "series.npy", data)
        np.save(folder / "tsnr.npy", temporal_snr(data))
        self._results["series"] = str(folder / "series.npy")
        self._results["tsnr"] = str(folder / "tsnr.npy")
        self._results["mask"] = save_mask(mask, affine, folder / "mask.nii.gz")
        mean = data.mean(axis=0)
        path = folder / "boldref_std.nii.gz"
        self._results["boldref_std"] = save_masked(mean, mask, affine, path)
        self._results |= _save_confounds(given, data, folder)
        return runtime


def on_grid(
    in_file: str,
    in_mask: str,
    n_dropped: int,
    shape: tuple[int, ...],
    affine: "NDArray[np.float64]",
) -> "tuple[NDArray[np.float32], NDArray[np.bool_]]":
    """Bring a masked series to a grid; values stay as they are when it is on it already.

    Parameters
    ----------
    in_file, in_mask : str
        A series and a mask on one grid.
    n_dropped : int
        Volumes left out at the start.
    shape, affine
        The grid wanted.

    Returns
    -------
    data : (n_volumes, n_voxels) float32
    mask : (X, Y, Z) bool
        Voxels of the given mask inside the field of view whose signal varies.

    Raises
    ------
    InputDataError
        A damaged file, an empty mask, or values in it that are not finite.
    """
    import numpy as np

    from rls_bids.dataset.checks import CONSTANT, NOT_FINITE, check_compression
    from rls_bids.interfaces.images import load_volume
    from rls_bids.numerics.resample import resample_series, resample_volume, voxel_points

    given = load_volume(in_mask)
    is_same = given.data.shape == shape and np.allclose(
        given.affine, affine, atol=_GRID_TOLERANCE_MM
    )
    mask = given.data > LEAST_INSIDE
    if not is_same:
        points = voxel_points(np.ones(shape, dtype=bool), affine)
        share = resample_volume(mask.astype(np.float32), given.affine, points, order=1)
        mask = share.reshape(shape) >= LEAST_INSIDE
    if not mask.any():
        raise InputDataError(NO_BRAIN.format(path=in_mask))
    points = voxel_points(mask, affine)
    places = np.ravel_multi_index(np.nonzero(mask), shape, order="F")
    inside = np.ones(len(points), dtype=bool)
    parts = []
    for block in read_blocks(in_file, n_dropped):
        if is_same:
            # Files are in Fortran order; so is the place of each voxel of the mask (C order).
            parts.append(np.stack([volume.ravel(order="F")[places] for volume in block]))
            continue
        still = np.tile(np.eye(4), (len(block), 1, 1))
        part, seen = resample_series(block, given.affine, points, still)
        parts.append(part)
        inside &= seen
    check_compression(in_file)
    data = np.concatenate(parts)
    n_bad = int(data.size - np.count_nonzero(np.isfinite(data)))
    if n_bad:
        raise InputDataError(NOT_FINITE.format(path=in_file, count=n_bad))
    inside &= data.std(axis=0) > 0  # what never varies carries no signal: outside the image
    if not inside.any():
        raise InputDataError(CONSTANT.format(path=in_file))
    mask[mask] = inside
    return (data if inside.all() else np.ascontiguousarray(data[:, inside])), mask


def read_blocks(path: str, n_dropped: int) -> "Iterator[NDArray[np.float32]]":
    """Yield (n_volumes, X, Y, Z) blocks of a series, so that it never lies in memory whole.

    Raises
    ------
    InputDataError
        The file is truncated or damaged.
    """
    import nibabel as nib
    import numpy as np

    from rls_bids.dataset.checks import UNREADABLE, UNREADABLE_HINT
    from rls_bids.interfaces.images import UNREADABLE_BECAUSE

    try:
        image: Any = nib.load(path, keep_file_open=True)
        for start in range(n_dropped, image.shape[3], _BLOCK_VOLUMES):
            block = image.dataobj[..., start : start + _BLOCK_VOLUMES]
            yield np.moveaxis(np.asarray(block, dtype=np.float32), -1, 0)
    except UNREADABLE_BECAUSE as error:
        message = UNREADABLE.format(path=path, reason=" ".join(str(error).split()))
        raise InputDataError(message, UNREADABLE_HINT) from error


def _save_confounds(given: Any, data: "NDArray[np.float32]", folder: Path) -> dict[str, str]:
    """Write the completed table, its outliers, and what is known of its components."""
    from rls_bids.dataset.description import write_json
    from rls_bids.dataset.prepared_checks import component_metadata, read_confounds
    from rls_bids.interfaces.denoise import without_breathing
    from rls_bids.interfaces.tables import save_table
    from rls_bids.numerics.breathing import displacement_of
    from rls_bids.numerics.confounds import dvars, outlier_columns
    from rls_bids.numerics.translate import (
        component_names,
        drop_start,
        present_name,
        translate,
    )

    raw = read_confounds(given.confounds_file)
    told = component_metadata(given.confounds_file)
    table = drop_start(translate(raw, told), given.n_dropped)
    if not {"std_dvars", "dvars"} <= table.keys():
        table["std_dvars"], table["dvars"] = dvars(data)
    added, filtering = without_breathing(table, given.motion_filter, given.repetition_time)
    table |= added
    fd = displacement_of(table)
    outliers = outlier_columns(fd, given.fd_threshold_mm)
    columns = component_names(map(present_name, raw), told)
    about = {ours: told[theirs] for ours, theirs in columns.items() if theirs in told}
    save_table(table | outliers, folder / "confounds.tsv")
    save_table(outliers, folder / "outliers.tsv", n_rows=len(fd))
    write_json(folder / "confounds.json", about | filtering)
    return {
        "confounds": str(folder / "confounds.tsv"),
        "metadata": str(folder / "confounds.json"),
        "outliers": str(folder / "outliers.tsv"),
    }


class PrepareTissuesInputSpec(BaseInterfaceInputSpec):
    """Inputs of `PrepareTissues`."""

    GM = File(exists=True, mandatory=True, desc="probability in standard space")
    WM = File(exists=True, mandatory=True, desc="probability in standard space")
    CSF = File(exists=True, mandatory=True, desc="probability in standard space")
    space = traits.Str(mandatory=True, desc="name of the standard space")
    resolution = traits.Str(mandatory=True, desc="of the output grid, mm")
    version = traits.Str(mandatory=True, desc="kernel version")


class PrepareTissuesOutputSpec(TraitedSpec):
    """Outputs of `PrepareTissues`, on the output grid."""

    GM_std = File(exists=True, desc="probability")
    WM_std = File(exists=True, desc="probability")
    CSF_std = File(exists=True, desc="probability")
    dseg_std = File(exists=True, desc="the likeliest tissue: 1 GM, 2 WM, 3 CSF")


class PrepareTissues(SimpleInterface):
    """Bring tissue probabilities of another program to the output grid.

    Labels are made from the probabilities, because their numbers differ between versions.
    """

    input_spec = PrepareTissuesInputSpec
    output_spec = PrepareTissuesOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.interfaces.images import STANDARD_CODE, load_volume, save_volume
        from rls_bids.numerics.resample import resample_volume, voxel_points
        from rls_bids.resources.grids import standard_grid

        folder = Path(runtime.cwd)
        shape, affine = standard_grid(self.inputs.space, self.inputs.resolution)
        points = voxel_points(np.ones(shape, dtype=bool), affine)
        shares = []
        for tissue in TISSUES:
            given = load_volume(getattr(self.inputs, tissue))
            is_same = given.data.shape == shape and np.allclose(
                given.affine, affine, atol=_GRID_TOLERANCE_MM
            )
            share = given.data
            if not is_same:
                share = resample_volume(share, given.affine, points, order=1).reshape(shape)
            shares.append(share)
            path = folder / f"{tissue}.nii.gz"
            self._results[f"{tissue}_std"] = save_volume(share, affine, path, code=STANDARD_CODE)
        labels = np.where(np.sum(shares, axis=0) >= LEAST_INSIDE, 1 + np.argmax(shares, axis=0), 0)
        self._results["dseg_std"] = save_volume(
            labels, affine, folder / "dseg.nii.gz", dtype=np.uint8, code=STANDARD_CODE
        )
        return runtime
