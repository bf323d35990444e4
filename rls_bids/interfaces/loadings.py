"""The figure of what a nuisance regression explains."""

from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, SimpleInterface, TraitedSpec

from rls_bids.interfaces.denoise import RegressionInputSpec, load_regressors


class PlotLoadingsOutputSpec(TraitedSpec):
    """Outputs of `PlotLoadings`."""

    loadings = File(exists=True, desc="what each regressor explains, and how alike they are")


class PlotLoadings(SimpleInterface):
    """Draw how strongly the regressors load on the data."""

    input_spec = RegressionInputSpec
    output_spec = PlotLoadingsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.figures.loadings import plot_loadings
        from rls_bids.interfaces.tables import load_table
        from rls_bids.numerics.breathing import displacement_of
        from rls_bids.numerics.loadings import loadings
        from rls_bids.numerics.regressors import family_of
        from rls_bids.numerics.signal import sample_mask

        given = self.inputs
        table = load_table(given.confounds)
        band = tuple(given.band_hz) or None
        names, regressors = load_regressors(given, table, band_pass=band is not None)
        families = [family_of(name) for name in names]
        found = loadings(
            np.load(given.series, mmap_mode="r"),
            regressors,
            families,
            repetition_time=given.repetition_time,
            kept=sample_mask(displacement_of(table), given.fd_threshold_mm),
            band=band,
            order=given.filter_order,
        )
        path = Path(runtime.cwd) / "loadings.svg"
        plot_loadings(found, names, families, path, title=f"Confound loadings of {given.label}")
        self._results["loadings"] = str(path)
        return runtime
