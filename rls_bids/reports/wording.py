"""Phrases of the methods section by what was done; ``[@key]`` cites ``boilerplate.bib``."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from rls_bids.numerics.tail import MIN_RESAMPLINGS
from rls_bids.settings import DenoiseSettings, GroupSettings
from rls_bids.settings.strategies import UNCENSORED, strategy_of

STRATEGIES: Mapping[str, str] = MappingProxyType(
    {
        "acompcor": (
            "acompcor: six head motion parameters with their derivatives, and five principal "
            "components each of white matter and of cerebrospinal fluid [@compcor]"
        ),
        "acompcor_gsr": (
            "acompcor_gsr: six head motion parameters with their derivatives, five principal "
            "components each of white matter and of cerebrospinal fluid [@compcor], and the "
            "global signal with its derivative and the squares of both"
        ),
        "24P": (
            "24P: six head motion parameters, their derivatives, and the squares of both "
            "[@satterthwaite2013]"
        ),
        "36P": (
            "36P: six head motion parameters and the mean signals of the brain, of white matter "
            "and of cerebrospinal fluid, their derivatives, and the squares of all "
            "[@satterthwaite2013]"
        ),
        "6P": "6P: six head motion parameters",
        "none": "none: no nuisance regressors besides the mean",
    }
)
FIELD: Mapping[str, str] = MappingProxyType(
    {
        "phasediff": "the phase difference of two gradient echoes",
        "two_phases": "the phases of two gradient echoes",
        "fieldmap": "a measured field map",
        "opposed": "a pair of images with opposed phase encoding [@andersson2003]",
    }
)
VOXELS: Mapping[str, str] = MappingProxyType(
    {"native": "the acquired size, the longest edge of all runs rounded up to 0.5 mm"}
)
GROUP_MAPS = (
    "Participants' maps (Fisher z, and each local measure on its scale) were tested by ordinary "
    "least squares in every voxel that all of them have, two-sided."
)
GROUP_FDR = (
    "p values were corrected over the voxels of each map for the false discovery rate "
    "[@benjamini1995], not over maps."
)
GROUP_RESAMPLED = (
    "Residuals of the reduced model were permuted, or had their signs flipped where the mean "
    "itself was tested or variances may differ [@freedman1983] [@winkler2014], {n} times or as "
    "often as there are distinct resamplings. p values hold family-wise over {what}, by the "
    "largest of each resampling{tail}, and over all maps of the model by the smallest p of each "
    "resampling where maps have the same resamplings [@winkler2016], else by Holm's method. p "
    "values for the false discovery rate [@benjamini1995] are over the voxels of each map."
)
GROUP_WHAT: Mapping[str, str] = MappingProxyType(
    {
        "tfce": "the voxels of a map after threshold-free cluster enhancement [@smithnichols2009]",
        "cluster": "the clusters of a map (mass above z of a two-sided p of {p:g})",
        "voxel": "the voxels of a map (largest z)",
    }
)
GROUP_TAIL = ", with a generalised Pareto tail [@knijnenburg2009] where not all were listed"
GROUP_TABLES = "Participants' graph metrics were tested by ordinary least squares, two-sided."
COLUMNS = (
    "The columns of the design were {columns}; numbers and indicators of covariates were centred "
    "over the participants in the model, differences between sessions were not."
)
CONTRASTS = "Contrasts and their null hypotheses: {contrasts}"
TOGETHER_SESSIONS = (
    "The orthonormal contrasts of the sessions {sessions} were tested together by Pillai's trace "
    "[@pillai1955], which needs no sphericity."
)
PAIRED = (
    "Matched pairs had a column each and changed places within pairs only; participants without "
    "a partner in the model were left out."
)
SITES = "Participants changed places within the values of {column!r} only."
VARIANCES = (
    "Variances could differ between the values of {column!r}: Welch's v was tested by flipping "
    "signs of residuals."
)
LIMIT = "Participants with a mean framewise displacement above {limit:g} mm were left out."
SIZES = (
    "Effect sizes are {sizes}; Hedges g and d_z come from the adjusted t [@hedges1981], with "
    "confidence intervals from the noncentral t distribution."
)
GROUP_GRAPHS = (
    "Graphs were measured again on the nodes and densities that all participants have in common "
    "(nodes missing in more than 10 % left for all). Areas under the curves were compared by the "
    "same model; residuals of the reduced model were permuted [@freedman1983], {n} times or as "
    "often as there are distinct permutations, and p values hold family-wise over the global "
    "metrics, and over the nodes of each nodal metric, by the largest statistic of each "
    "permutation [@winkler2014]."
)
ICA = "Group ICA had {n} components, of {people} participants."
OWN_TEMPLATES = (
    "Templates were the networks of 300 nodes [@seitzman2020], each the largest of Gaussians of "
    "16 mm full width at half maximum at its nodes."
)
ICA_TEMPLATES = "Templates were the maps of {file}."
GROUP_MATRICES = (
    "Matrices of the nodes that all participants have in common (nodes missing in more than 10 % "
    "left for all) were compared connection by connection, as Fisher z, with {n} resamplings of "
    "the residuals of the reduced model or as many as there are [@freedman1983]. p values hold "
    "family-wise over connections by the largest statistic [@winkler2014], over networks of "
    "connections formed at a two-sided p < .001 by their extent and intensity (network-based "
    "statistic) [@zalesky2010], and over connections by its threshold-free form [@baggio2018]."
)
GRAPHS = " They were {weighting}; densities: {densities}; {n} {nulls} null networks a density."
LOCAL = (
    "Maps of local measures were averaged over runs, weighted by the minutes kept, smoothed with "
    "a Gaussian of {fwhm:g} mm full width at half maximum over the voxels that have a value, and "
    "copied as multiples of their mean and as z over their voxels."
)
AVERAGE = "T1w images of one acquisition were aligned rigidly and averaged as far as they agreed. "
SBREF = (
    "Where a run has a single-band reference, this image was the BOLD reference, aligned rigidly "
    "to the mean of the run."
)
EXTRACTION: Mapping[str, str] = MappingProxyType(
    {
        "ROBEX": "the brain was extracted with ROBEX [@robex]",
        "deepbet": "the brain was extracted with deepbet [@deepbet]",
        "zeros of the image": (
            "the image came without skull, so its own non-zero voxels were the brain mask"
        ),
    }
)


def denoising_text(denoise: DenoiseSettings) -> str:
    """Return the paragraph on denoising."""
    smoothing = (
        "Residuals were smoothed within the brain mask with a Gaussian of "
        f"{denoise.smoothing_fwhm_mm:g} mm full width at half maximum."
        if denoise.smoothing_fwhm_mm > 0
        else "Residuals were not smoothed."
    )
    return (
        f"Nuisance regression used {'; '.join(_strategies(denoise))}. "
        f"{_breathing(denoise)}{_censoring(denoise)} {_band(denoise)} {smoothing} "
        f"A session was used when at least {denoise.min_time_s:g} s and {denoise.min_df} "
        "residual degrees of freedom were left over its runs, counted as the rank of the "
        "filtered, kept volumes minus the rank of the regressors in it."
    )


def _strategies(denoise: DenoiseSettings) -> Iterator[str]:
    """Describe each model once, whether it is used with censoring, without, or both."""
    models = [strategy_of(denoise, strategy) for strategy in denoise.strategies]
    for model in {each.name: each for each in models}.values():
        if model.patterns:
            yield f"{model.name}: the columns {', '.join(model.patterns)} of the confounds table"
        else:
            yield STRATEGIES.get(model.name, model.name)


def _breathing(denoise: DenoiseSettings) -> str:
    if denoise.motion_filter is None:
        return ""
    low, high = denoise.band_stop_min_bpm, denoise.band_stop_max_bpm
    how = (
        f"a notch at {low:g}–{high:g} breaths per minute (at its alias where the repetition time "
        "is too long to see it there) [@fair2020]"
        if denoise.motion_filter == "notch"
        else f"a low-pass of {low:g} breaths per minute"
    )
    return (
        f"Breathing was taken out of the motion parameters by {how}, of order "
        f"{denoise.motion_filter_order}, forward and backward; displacement, censoring and motion "
        "regressors are those of the filtered parameters [@gratton2020]. "
    )


def _censoring(denoise: DenoiseSettings) -> str:
    if denoise.fd_threshold_mm <= 0:
        return "No volume was censored."
    uncensored = [each for each in denoise.strategies if each.endswith(UNCENSORED)]
    if len(uncensored) == len(denoise.strategies):
        return "No volume was censored."
    others = f" With {' and '.join(uncensored)} every volume was kept." if uncensored else ""
    return (
        "Volumes with a framewise displacement above "
        f"{denoise.fd_threshold_mm:g} mm were censored, and so were stretches of fewer than "
        f"5 volumes between them; they were interpolated for the filter only [@power2014].{others}"
    )


def _band(denoise: DenoiseSettings) -> str:
    if not denoise.band_pass:
        return "No band-pass filter was used; cosines below 1/128 Hz were among the regressors."
    return (
        f"A Butterworth filter of order {denoise.filter_order}, run forward and backward "
        f"({denoise.low_hz:g}–{denoise.high_hz:g} Hz), was applied to data and regressors "
        "alike, so that regression brings nothing back that was filtered out [@lindquist2019]."
    )


EIGENVARIATE = (
    " The series of {names} was the first principal component of the voxels instead of their "
    "mean, its sign that of its correlation with the mean."
)
TOGETHER = (
    " The seeds {names} were put into one regression for each network: their maps are "
    "semi-partial correlations, of every voxel with what the other seeds of the network do not "
    "tell of the seed's series; each of these others costs a degree of freedom."
)


def group_correction(group: GroupSettings) -> str:
    """Say how the p values of maps are corrected."""
    if group.correction == "fdr":
        return GROUP_FDR
    is_fitted = group.n_permutations >= MIN_RESAMPLINGS
    return GROUP_RESAMPLED.format(
        n=group.n_permutations,
        what=GROUP_WHAT[group.correction].format(p=group.cluster_threshold),
        tail=GROUP_TAIL if is_fitted else "",
    )
