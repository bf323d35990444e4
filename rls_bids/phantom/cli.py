"""``rls_bids_phantom``: write a synthetic cohort with known truth."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence

from rls_bids import __version__
from rls_bids.engine.resources import available_cpus
from rls_bids.errors import EXIT_OK, RlsBidsError
from rls_bids.phantom.spec import FIELD_MAPS, SIZES, CohortSpec


def build_parser() -> argparse.ArgumentParser:
    """Build the command line."""
    parser = argparse.ArgumentParser(
        prog="rls_bids_phantom",
        description="Write a synthetic raw BIDS cohort (patients and controls) with known truth.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("output_dir", metavar="OUTPUT_DIR", help="new or empty directory")
    add("--size", choices=tuple(SIZES), default="small", help="sampling (default: small)")
    add("--n-patients", type=int, metavar="N", help="patients (default: that of the size)")
    add("--n-controls", type=int, metavar="N", help="controls (default: that of the size)")
    add("--sessions", nargs="+", default=[], metavar="LABEL", help="session labels")
    add(
        "--effect",
        type=float,
        default=2.5,
        metavar="D",
        help="planted latent standardised difference; 0 for a null cohort (default: 2.5)",
    )
    add(
        "--effect-offset",
        type=float,
        default=0.0,
        metavar="MM",
        help="plant the left thalamic effect this far beside its seed (negative control)",
    )
    add("--anat", metavar="FILE", help="a T1w image that takes the place of the standard head")
    skull = parser.add_mutually_exclusive_group()
    skull.add_argument("--skull", action="store_true", default=None, help="with skull and scalp")
    skull.add_argument(
        "--no-skull", dest="skull", action="store_false", default=None, help="brain only"
    )
    _add_image_options(add)
    add("--random-seed", type=int, default=0, metavar="S", help="seed (default: 0)")
    add(
        "--fmriprep",
        action="store_true",
        help="write a derivative like fMRIPrep's in standard space instead of raw data",
    )
    n_cpus = available_cpus()
    add("--n-cpus", type=int, default=n_cpus, metavar="N", help="people at once (default: all)")
    add("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _add_image_options(add: Callable[..., object]) -> None:
    """Add what decides how the images are acquired and stored."""
    add("--t1w-orientation", default="RAS", metavar="CODES", help="storage (default: RAS)")
    add("--bold-orientation", default="LAS", metavar="CODES", help="storage (default: LAS)")
    add("--differing-qform", action="store_true", help="write a qform that differs from the sform")
    add(
        "--distortion",
        type=float,
        default=0.0,
        metavar="FACTOR",
        help="susceptibility distortion of BOLD; 1 is that of a 3 T scanner (default: 0)",
    )
    add(
        "--phase-encoding",
        default="A",
        choices=tuple("LRPAIS"),
        help="where a positive off-resonance shifts tissue to (default: A)",
    )
    add(
        "--fieldmap",
        default="phasediff",
        choices=FIELD_MAPS,
        help="what is written of the field when there is distortion (default: phasediff)",
    )
    add("--n-volumes", type=int, metavar="N", help="volumes (default: that of the size)")
    add(
        "--non-steady",
        type=int,
        default=0,
        metavar="N",
        help="volumes at the start that are not in steady state (default: 0)",
    )
    add(
        "--echo-times",
        type=float,
        nargs="+",
        default=[],
        metavar="MS",
        help="echo times of a multi-echo series (default: one echo of 30 ms)",
    )


def _spec(options: argparse.Namespace) -> CohortSpec:
    return CohortSpec(
        size=options.size,
        n_patients=options.n_patients,
        n_controls=options.n_controls,
        sessions=tuple(options.sessions),
        effect=options.effect,
        effect_offset_mm=options.effect_offset,
        anat=options.anat,
        skull=options.skull,
        random_seed=options.random_seed,
        t1w_orientation=options.t1w_orientation,
        bold_orientation=options.bold_orientation,
        differing_qform=options.differing_qform,
        distortion=options.distortion,
        phase_encoding=options.phase_encoding,
        fieldmap=options.fieldmap,
        n_volumes=options.n_volumes,
        non_steady=options.non_steady,
        echo_times_s=tuple(time / 1000 for time in options.echo_times),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name.

    Returns
    -------
    int
        Exit status.
    """
    options = build_parser().parse_args(argv)
    started = time.monotonic()

    def tell(line: str) -> None:
        sys.stdout.write(f"[{time.monotonic() - started:6.1f} s] {line}\n")
        sys.stdout.flush()

    try:
        if options.fmriprep:
            from rls_bids.phantom.fmriprep import write_derivative as write
        else:
            from rls_bids.phantom.dataset import write_cohort as write
        root = write(options.output_dir, _spec(options), tell=tell, n_cpus=max(1, options.n_cpus))
    except RlsBidsError as error:
        sys.stderr.write(f"rls_bids_phantom: {error}\n")
        return error.exit_status
    tell(f"{root} is complete")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
