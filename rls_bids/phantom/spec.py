"""What a synthetic cohort is made of: sizes, planted effects and options, all frozen."""

from dataclasses import dataclass, fields
from typing import Literal

from rls_bids.errors import UsageError

Group = Literal["RLS", "HC"]
SizeName = Literal["tiny", "small", "full"]
FieldMapName = Literal["none", "phasediff", "phases", "fieldmap", "opposed"]
FIELD_MAPS: tuple[FieldMapName, ...] = ("none", "phasediff", "phases", "fieldmap", "opposed")

LATENT_SD = 0.25
"""Standard deviation of the participants' latent Fisher z within a group."""
STRONG_Z = 0.875
WEAK_Z = 0.25
"""Mean latent Fisher z of the stronger group, and the least mean of the weaker one."""
MAX_EFFECT = 5.0
MAX_DISTORTION = 1.2
MAX_NON_STEADY = 10
MAX_ECHO_TIME_S = 0.2
RAW_ONLY = ("non_steady", "echo_times_s")
"""Options that change raw images only."""
NOISE_FREE_TSNR = 1e6

BAD_SIZE = "There is no size {value!r}."
BAD_SIZE_HINT = "Give one of {names}."
BAD_COUNT = "A cohort of {patients} patients and {controls} controls cannot be written."
BAD_COUNT_HINT = "Ask for 0 to 999 of each, and at least one participant in all."
BAD_EFFECT = "The latent effect {value:g} is out of range."
BAD_EFFECT_HINT = "Give a standardised difference between -{limit:g} and {limit:g}."
BAD_ORIENTATION = "{value!r} is not a storage orientation."
BAD_ORIENTATION_HINT = "Give three letters, one of each pair L/R, P/A and I/S, such as RAS or PSR."
BAD_SESSION = "The session label {value!r} is not alphanumeric, or is given twice."
BAD_SESSION_HINT = "Give labels of letters and digits, each once, such as pre post."
BAD_ENCODING = "{value!r} is not a direction of phase encoding."
BAD_ENCODING_HINT = "Give one of the letters L, R, P, A, I and S."
BAD_DISTORTION = "The distortion {value:g} is out of range."
BAD_DISTORTION_HINT = "Give a factor between 0 and 1.2; beyond that the image would fold."
BAD_FIELD_MAP = "There is no field map {value!r}."
BAD_FIELD_MAP_HINT = "Give one of {names}."
BAD_SEED = "The random seed {value} is negative."
BAD_SEED_HINT = "Give a whole number from 0 upwards."
BAD_VOLUMES = "A series of {value} volumes is too short."
BAD_START = "A start of {value} bright volumes is out of range."
BAD_START_HINT = "Give a number from 0 to {limit}."
BAD_ECHOES = "The echo times {value} (s) are not those of a multi-echo series."
BAD_ECHOES_HINT = "Give two or more that ascend from above 0 and stay below {limit:g} s."
BAD_VOLUMES_HINT = "Ask for at least 10 volumes, or leave the number to the size."


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Sampling of one cohort size: voxel sizes in mm, time in s.

    ``fine_mm`` is the spacing on which the head lies before it is averaged to BOLD voxels; it
    divides ``bold_mm``.
    """

    name: SizeName
    t1w_mm: float
    bold_mm: float
    fine_mm: float
    n_volumes: int
    repetition_time: float
    skull: bool
    n_per_group: int


SIZES: dict[str, Size] = {
    size.name: size
    for size in (
        Size(
            name="tiny",
            t1w_mm=2.0,
            bold_mm=4.0,
            fine_mm=2.0,
            n_volumes=150,
            repetition_time=2.0,
            skull=False,
            n_per_group=3,
        ),
        Size(
            name="small",
            t1w_mm=2.0,
            bold_mm=4.0,
            fine_mm=2.0,
            n_volumes=160,
            repetition_time=2.0,
            skull=False,
            n_per_group=8,
        ),
        Size(
            name="full",
            t1w_mm=1.0,
            bold_mm=3.0,
            fine_mm=1.0,
            n_volumes=200,
            repetition_time=2.0,
            skull=True,
            n_per_group=2,
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A place with its own time course: a sphere round a seed or a target.

    ``weights`` are the shares of the signal in grey matter, white matter and CSF.
    """

    name: str
    seed: str
    radius_mm: float
    weights: tuple[float, float, float] = (1.0, 0.3, 0.3)
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Regions whose courses share one correlation, tanh of the participant's latent z.

    ``sign`` is that of the planted difference RLS minus HC; 0 is a negative control.
    """

    name: str
    regions: tuple[str, ...]
    sign: Literal[-1, 0, 1]


THALAMUS = (1.0, 1.0, 0.0)
REGIONS: tuple[Region, ...] = (
    Region(name="VPL_L", seed="thal_VPL_L", radius_mm=7.5, weights=THALAMUS),
    Region(name="VPL_R", seed="thal_VPL_R", radius_mm=7.5, weights=THALAMUS),
    Region(name="hand_L", seed="SMN_handM1_L", radius_mm=12.0),
    Region(name="hand_R", seed="SMN_handM1_R", radius_mm=12.0),
    Region(name="insula_L", seed="SN_aIns_L", radius_mm=10.0),
    Region(name="insula_R", seed="SN_aIns_R", radius_mm=10.0),
    Region(name="dACC", seed="SN_dACC_R", radius_mm=10.0),
    Region(name="PCC", seed="DMN_PCC", radius_mm=10.0),
    Region(name="aMPFC", seed="DMN_aMPFC", radius_mm=10.0),
    Region(name="angular_L", seed="DMN_AG_L", radius_mm=10.0),
    Region(name="angular_R", seed="DMN_AG_R", radius_mm=10.0),
    Region(name="control_frontal", seed="ECN_LPFC_L", radius_mm=10.0),
    Region(name="control_parietal", seed="ECN_PPC_R", radius_mm=10.0),
)
NETWORKS: tuple[Network, ...] = (
    Network(name="thalamocortical_left", regions=("VPL_L", "hand_L"), sign=-1),
    Network(name="thalamocortical_right", regions=("VPL_R", "hand_R"), sign=0),
    Network(name="salience", regions=("insula_L", "insula_R", "dACC"), sign=1),
    Network(name="default", regions=("PCC", "aMPFC", "angular_L", "angular_R"), sign=-1),
    Network(name="control", regions=("control_frontal", "control_parietal"), sign=0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortSpec:
    """All that decides the bytes of a cohort.

    Attributes
    ----------
    size : {"tiny", "small", "full"}
        Sampling; see :data:`SIZES`.
    n_patients, n_controls : int or None
        None takes the number of the size.
    sessions : tuple of str
        Labels; empty for a data set without session level. Each session after the first has
        half the planted difference of the first.
    effect : float
        Latent standardised difference d; 0 writes a null cohort.
    effect_offset_mm : float
        When positive, the left thalamic effect lies this far lateral of its seed, and the seed
        itself has none.
    anat : str or None
        A T1w image that takes the place of the standard head.
    skull : bool or None
        With skull, scalp and neck; None takes the size's default, and True for ``anat``.
    random_seed : int
        Participant *k* of a group depends on this and on *k* alone.
    t1w_orientation, bold_orientation : str
        Axis codes of storage.
    differing_qform : bool
        Write a qform that contradicts the (right) sform.
    tsnr : float
        Mean grey-matter signal over the standard deviation of the thermal noise.
    motion_scale : float
        Multiplies the head motion; 1 gives a mean framewise displacement of 0.1 to 0.2 mm.
    intra_volume_fraction : float
        Share of the volumes during which the head moves.
    misalignment_scale : float
        Multiplies the shift and rotation of the head between T1w and BOLD; at 1 up to 5 mm and
        4° on each axis.
    warp_mm : float
        Mean displacement over the brain that no affine explains.
    dropout : bool
        Signal loss near the sinuses.
    distortion : float
        Multiplies the susceptibility field: 1 reaches about 90 Hz, or 12 mm of 4 mm voxels.
    phase_encoding : {"L", "R", "P", "A", "I", "S"}
        Where tissue of a positive off-resonance is shifted to.
    fieldmap : {"none", "phasediff", "phases", "fieldmap", "opposed"}
        What is written of the field when there is distortion.
    n_volumes : int or None
        None takes the number of the size.
    non_steady : int
        Volumes at the start that are brighter than the steady state.
    echo_times_s : tuple of float
        Of a multi-echo series, ascending; empty for one echo of 0.03 s.
    """

    size: SizeName = "small"
    n_patients: int | None = None
    n_controls: int | None = None
    sessions: tuple[str, ...] = ()
    effect: float = 2.5
    effect_offset_mm: float = 0.0
    anat: str | None = None
    skull: bool | None = None
    random_seed: int = 0
    t1w_orientation: str = "RAS"
    bold_orientation: str = "LAS"
    differing_qform: bool = False
    tsnr: float = 60.0
    motion_scale: float = 1.0
    intra_volume_fraction: float = 0.0
    misalignment_scale: float = 1.0
    warp_mm: float = 3.3
    dropout: bool = True
    distortion: float = 0.0
    phase_encoding: str = "A"
    fieldmap: FieldMapName = "phasediff"
    n_volumes: int | None = None
    non_steady: int = 0
    echo_times_s: tuple[float, ...] = ()


def spec_content(spec: CohortSpec) -> dict[str, object]:
    """Return a specification by names; what plain cohorts lack is left out where it is lacking."""
    told = {field.name: getattr(spec, field.name) for field in fields(spec)}
    return {name: value for name, value in told.items() if value or name not in RAW_ONLY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A validated cohort: the size with the asked changes applied, networks and their means."""

    spec: CohortSpec
    size: Size
    skull: bool
    n_volumes: int
    members: tuple[tuple[Group, int], ...]
    regions: tuple[Region, ...]
    networks: tuple[Network, ...]


def _check(spec: CohortSpec, n_patients: int, n_controls: int) -> None:
    limit = 999
    if not (0 <= n_patients <= limit and 0 <= n_controls <= limit and n_patients + n_controls):
        raise UsageError(
            BAD_COUNT.format(patients=n_patients, controls=n_controls), BAD_COUNT_HINT
        )
    if not abs(spec.effect) <= MAX_EFFECT:
        raise UsageError(
            BAD_EFFECT.format(value=spec.effect), BAD_EFFECT_HINT.format(limit=MAX_EFFECT)
        )
    for codes in (spec.t1w_orientation, spec.bold_orientation):
        pairs = {"LR": 0, "PA": 0, "IS": 0}
        for pair in pairs:
            pairs[pair] = sum(code in pair for code in codes)
        if len(codes) != len(pairs) or set(pairs.values()) != {1}:
            raise UsageError(BAD_ORIENTATION.format(value=codes), BAD_ORIENTATION_HINT)
    _check_distortion(spec)
    for label in spec.sessions:
        plain = label.isascii() and label.isalnum()
        if not plain or spec.sessions.count(label) > 1:
            raise UsageError(BAD_SESSION.format(value=label), BAD_SESSION_HINT)
    if spec.random_seed < 0:
        raise UsageError(BAD_SEED.format(value=spec.random_seed), BAD_SEED_HINT)
    _check_series(spec)


def _check_series(spec: CohortSpec) -> None:
    shortest = 10
    if spec.n_volumes is not None and spec.n_volumes < shortest:
        raise UsageError(BAD_VOLUMES.format(value=spec.n_volumes), BAD_VOLUMES_HINT)
    if not 0 <= spec.non_steady <= MAX_NON_STEADY:
        hint = BAD_START_HINT.format(limit=MAX_NON_STEADY)
        raise UsageError(BAD_START.format(value=spec.non_steady), hint)
    times = spec.echo_times_s
    ascend = all(first < second for first, second in zip((0, *times), times, strict=False))
    if times and not (len(times) > 1 and ascend and times[-1] < MAX_ECHO_TIME_S):
        hint = BAD_ECHOES_HINT.format(limit=MAX_ECHO_TIME_S)
        raise UsageError(BAD_ECHOES.format(value=times), hint)


def _check_distortion(spec: CohortSpec) -> None:
    if not 0 <= spec.distortion <= MAX_DISTORTION:
        raise UsageError(BAD_DISTORTION.format(value=spec.distortion), BAD_DISTORTION_HINT)
    if len(spec.phase_encoding) != 1 or spec.phase_encoding not in "LRPAIS":
        raise UsageError(BAD_ENCODING.format(value=spec.phase_encoding), BAD_ENCODING_HINT)
    if spec.fieldmap not in FIELD_MAPS:
        hint = BAD_FIELD_MAP_HINT.format(names=", ".join(FIELD_MAPS))
        raise UsageError(BAD_FIELD_MAP.format(value=spec.fieldmap), hint)


def _shift_effect(offset_mm: float) -> tuple[tuple[Region, ...], tuple[Network, ...]]:
    """Move the left thalamic effect off its seed; the seed keeps a course of its own."""
    shifted = Region(
        name="beside_VPL_L",
        seed="thal_VPL_L",
        radius_mm=5.0,
        weights=THALAMUS,
        shift_mm=(-offset_mm, 0.0, 0.0),
    )
    seed = Region(name="VPL_L", seed="thal_VPL_L", radius_mm=5.0, weights=THALAMUS)
    networks = [
        Network(name=network.name, regions=("beside_VPL_L", "hand_L"), sign=network.sign)
        if network.name == "thalamocortical_left"
        else network
        for network in NETWORKS
    ]
    alone = Network(name="seed_without_effect", regions=("VPL_L",), sign=0)
    return (seed, *REGIONS[1:], shifted), (*networks, alone)


def plan_cohort(spec: CohortSpec) -> Plan:
    """Validate a specification and fill in what its size decides.

    Raises
    ------
    UsageError
        A number, orientation or label is out of range.
    """
    if spec.size not in SIZES:
        raise UsageError(
            BAD_SIZE.format(value=spec.size), BAD_SIZE_HINT.format(names=", ".join(SIZES))
        )
    size = SIZES[spec.size]
    n_patients = size.n_per_group if spec.n_patients is None else spec.n_patients
    n_controls = size.n_per_group if spec.n_controls is None else spec.n_controls
    _check(spec, n_patients, n_controls)
    regions, networks = REGIONS, NETWORKS
    if spec.effect_offset_mm > 0:
        regions, networks = _shift_effect(spec.effect_offset_mm)
    patients: list[tuple[Group, int]] = [("RLS", index) for index in range(n_patients)]
    controls: list[tuple[Group, int]] = [("HC", index) for index in range(n_controls)]
    return Plan(
        spec=spec,
        size=size,
        skull=(size.skull or spec.anat is not None) if spec.skull is None else spec.skull,
        n_volumes=size.n_volumes if spec.n_volumes is None else spec.n_volumes,
        members=(*patients, *controls),
        regions=regions,
        networks=networks,
    )


def participant_label(group: Group, index: int) -> str:
    """Label without ``sub-``; the same whatever the size of the cohort.

    Examples
    --------
    >>> participant_label("RLS", 0)
    'RLS001'
    """
    return f"{group}{index + 1:03d}"


def network_mean(network: Network, group: Group, effect: float) -> float:
    """Mean latent Fisher z of a group: the stronger group at 0.875 (more for d > 2.5).

    Examples
    --------
    >>> default = Network(name="default", regions=("PCC", "aMPFC"), sign=-1)
    >>> network_mean(default, "HC", 2.5), network_mean(default, "RLS", 2.5)
    (0.875, 0.25)
    """
    difference = network.sign * effect * LATENT_SD
    strong = max(STRONG_Z, WEAK_Z + abs(effect) * LATENT_SD)
    if network.sign == 0:
        return (STRONG_Z + WEAK_Z) / 2
    patients_stronger = difference > 0
    if difference == 0 or patients_stronger == (group == "RLS"):
        return strong
    return strong - abs(difference)
