"""What each `desc-` label of our outputs means, for `descriptions.tsv`."""

DESCRIPTIONS = {
    "preproc": "Preprocessed: bias-corrected T1w image, or BOLD series on the standard grid.",
    "brain": "Brain mask.",
    "modulated": "Amount of tissue: its probability times the volume before normalisation.",
    "confounds": "Confounding time series, one column each, with fMRIPrep's names.",
    "hmc": "Head motion correction: one rigid transform a volume.",
    "networks": "Means over all pairs of parcels of two networks, and within each.",
    "lobes": "Means over all pairs of parcels of two lobes, and within each.",
    "uncorrected": "Not corrected for multiple comparisons.",
    "fdr": "Corrected for the false discovery rate (Benjamini and Hochberg) over the voxels.",
    "voxelFWE": "Family-wise over the voxels of a map: by the largest of each resampling.",
    "clusterFWE": "Family-wise over the clusters of a map: by the heaviest of each resampling.",
    "tfceFWE": "Family-wise over the voxels of a map after threshold-free cluster enhancement.",
    "minima": "Smallest p of each resampling over maps with the same resamplings.",
    "ciLower": "Lower limit of the 95 % confidence interval.",
    "ciUpper": "Upper limit of the 95 % confidence interval.",
    "meannorm": "Divided by the mean over the voxels that have a value.",
    "zstd": "As z over the voxels that have a value: mean 0, standard deviation 1.",
    "regions": "Means of maps over regions.",
    "regionsValues": "Means of maps over regions, those of every participant.",
    "quality": "Quality of the data as an outcome.",
    "qualityValues": "Quality of the data of every participant.",
    "global": "Metrics of whole graphs.",
    "nodal": "Metrics of the nodes of graphs.",
    "components": "Components of connections that exceed the forming threshold.",
    "edges": "Connections of components, and those that survive by themselves.",
    "networksValues": "Means between and within networks of every participant.",
    "lobesValues": "Means between and within lobes of every participant.",
    "reference": "Where the tangent space touches: the geometric mean of the participants.",
    "participants": "Of every participant, one below the other.",
    "edgeFWE": "Family-wise over the connections.",
    "nbsExtentFWE": "Family-wise over networks of connections, by their extent.",
    "nbsIntensityFWE": "Family-wise over networks of connections, by their intensity.",
    "tfnbsFWE": "Family-wise over connections, threshold-free.",
    "globalNegative": "Metrics of whole graphs of negative correlations.",
    "nodalNegative": "Metrics of the nodes of graphs of negative correlations.",
    "globalNegativeMeanR": "The same, adjusted for the mean negative correlation.",
    "nodalNegativeMeanR": "The same, adjusted for the mean negative correlation.",
    "globalNegativeValues": "Metrics of whole graphs of negative correlations, of everyone.",
    "nodalNegativeValues": "Metrics of nodes in graphs of negative correlations, of everyone.",
    "globalMeanR": "Metrics of whole graphs, adjusted for the mean correlation.",
    "nodalMeanR": "Metrics of the nodes of graphs, adjusted for the mean correlation.",
    "globalValues": "Metrics of whole graphs, those of every participant that were compared.",
    "nodalValues": "Metrics of nodes, those of every participant that were compared.",
}
DENOISED = "BOLD series after nuisance regression with the strategy {strategy}."
PICTURE = "Shown on a report page: {what}."


def meaning_of(label: str, *, is_picture: bool) -> str:
    """Return what a label means; ``is_picture``: it stands only on pictures.

    Examples
    --------
    >>> meaning_of("brain", is_picture=False)
    'Brain mask.'
    """
    if is_picture:
        return PICTURE.format(what=label)
    if label.startswith("denoised"):
        return DENOISED.format(strategy=label.removeprefix("denoised"))
    return DESCRIPTIONS.get(label, label)
