"""Nodes that write: names and sidecars come finished from the stages."""

from collections.abc import Mapping

from nipype.pipeline import engine as pe

from rls_bids.dataset.naming import camel_label
from rls_bids.interfaces.bold import UnmaskSeries
from rls_bids.interfaces.sink import WriteDerivative, WriteManifest
from rls_bids.workflows.stage import Place, Product, Stage


def add_sink(
    workflow: pe.Workflow, product: Product, place: Place, source: pe.Node, field: str
) -> pe.Node:
    """Write ``source.field`` as `product`; return the sink, e.g. to connect `metadata_file`."""
    sink = pe.Node(
        WriteDerivative(base_dir=place.output_dir, path=product.path, metadata=product.metadata),
        name=f"ds_{product.key}",
        run_without_submitting=True,
    )
    workflow.connect(source, field, sink, "in_file")
    return sink


def add_series_sink(
    workflow: pe.Workflow,
    product: Product,
    place: Place,
    series: tuple[pe.Node, str],
    mask: tuple[pe.Node, str],
) -> None:
    """Write a masked series as a 4D image; its sidecar states the repetition time."""
    unmask = pe.Node(
        UnmaskSeries(repetition_time=product.metadata["RepetitionTime"]),
        name=f"unmask_{product.key}",
        mem_gb=4,
    )
    workflow.connect(*series, unmask, "series")
    workflow.connect(*mask, unmask, "mask")
    add_sink(workflow, product, place, unmask, "out_file")


def manifest_sink(products: Mapping[str, Product], place: Place, *, name: str) -> pe.Node:
    """Return the node that writes the files of a manifest, `products` by their keys there."""
    return pe.Node(
        WriteManifest(
            base_dir=place.output_dir,
            paths={key: product.path for key, product in products.items()},
            metadata={key: product.metadata for key, product in products.items()},
        ),
        name=name,
        run_without_submitting=True,
    )


def stage_sink(stage: Stage, place: Place, *, name: str) -> pe.Node:
    """Return the node that writes every product of a stage."""
    return manifest_sink({each.key: each for each in stage.products}, place, name=name)


def add_figure_sink(
    workflow: pe.Workflow, path: str, place: Place, source: pe.Node, field: str
) -> None:
    """Write the figure ``source.field`` to `path`."""
    sink = pe.Node(
        WriteDerivative(base_dir=place.output_dir, path=path, metadata={}),
        name=f"ds_figure_{field}",
        run_without_submitting=True,
    )
    workflow.connect(source, field, sink, "in_file")


def node_name(*parts: str | None) -> str:
    """Join labels into a legal node name.

    Examples
    --------
    >>> node_name("sub", "01", None, "acq-x")
    'sub_01_acqX'
    """
    return "_".join(camel_label(part) for part in parts if part)
