"""The one way out: a file gets its finished BIDS path and its sidecar, whole or not at all."""

import shutil
from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from rls_bids.dataset.description import atomic_write, read_json, write_json
from rls_bids.dataset.naming import sidecar
from rls_bids.interfaces.manifest import load_manifest


def write_derivative(source: Path, base_dir: Path, path: str, metadata: dict[str, object]) -> Path:
    """Copy `source` to ``base_dir/path``, then write the sidecar that declares it finished.

    The old sidecar goes first and the new one comes last: a file without sidecar is not finished,
    so what an interruption leaves behind is made again.
    """
    target = base_dir / path
    (base_dir / sidecar(path)).unlink(missing_ok=True)
    atomic_write(target, lambda temporary: shutil.copyfile(source, temporary))
    if metadata:
        write_json(base_dir / sidecar(path), metadata)
    return target


class WriteDerivativeInputSpec(BaseInterfaceInputSpec):
    """Inputs of `WriteDerivative`."""

    in_file = File(exists=True, mandatory=True, desc="what to write")
    base_dir = traits.Str(mandatory=True, desc="output directory")
    path = traits.Str(mandatory=True, desc="finished path relative to base_dir")
    metadata = traits.Dict(desc="sidecar; empty: a file without one (figures)")
    metadata_file = File(desc="JSON of what only the run knew, merged over `metadata`")


class WriteDerivativeOutputSpec(TraitedSpec):
    """Outputs of `WriteDerivative`."""

    out_file = File(exists=True, desc="the written file")


class WriteDerivative(SimpleInterface):
    """Write one file and its sidecar."""

    # The output may have been deleted since the cached run: writing again costs little.
    _always_run = True
    input_spec = WriteDerivativeInputSpec
    output_spec = WriteDerivativeOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        metadata = dict(self.inputs.metadata) if isdefined(self.inputs.metadata) else {}
        if isdefined(self.inputs.metadata_file):
            metadata |= read_json(Path(self.inputs.metadata_file))
        target = write_derivative(
            Path(self.inputs.in_file), Path(self.inputs.base_dir), self.inputs.path, metadata
        )
        self._results["out_file"] = str(target)
        return runtime


class WriteManifestInputSpec(BaseInterfaceInputSpec):
    """Inputs of `WriteManifest`."""

    manifest = File(exists=True, mandatory=True, desc="JSON list of key, file, metadata")
    base_dir = traits.Str(mandatory=True, desc="output directory")
    paths = traits.Dict(mandatory=True, desc="key to finished relative path")
    metadata = traits.Dict(mandatory=True, desc="key to sidecar")


class WriteManifest(SimpleInterface):
    """Write the files that a manifest lists.

    An entry without a file is a result that could not be made: its sidecar alone is written and
    says why under ``Missing``, so that it is neither silent nor tried again in vain.
    """

    _always_run = True
    input_spec = WriteManifestInputSpec
    output_spec = TraitedSpec

    def _run_interface(self, runtime: Any) -> Any:
        base_dir = Path(self.inputs.base_dir)
        for entry in load_manifest(self.inputs.manifest):
            path = self.inputs.paths[entry["key"]]
            metadata = {**self.inputs.metadata[entry["key"]], **entry["metadata"]}
            if entry["file"]:
                write_derivative(Path(entry["file"]), base_dir, path, metadata)
            else:
                (base_dir / path).unlink(missing_ok=True)
                write_json(base_dir / sidecar(path), metadata)
        return runtime
