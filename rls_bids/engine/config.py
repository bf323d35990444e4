"""nipype's configuration, in one place."""

import logging
from pathlib import Path

import nipype

from rls_bids.settings import RunSettings

QUIET = ("CRITICAL", "WARNING", "INFO", "DEBUG")
"""nipype's own log level by ``-v``: failures are told by our records, so it says nothing else."""


def configure_nipype(run: RunSettings, work_dir: str, crash_dir: str) -> None:
    """Set how graphs are hashed, run, watched and logged.

    Parameters
    ----------
    run : RunSettings
    work_dir : str
        Where nipype's log goes, if it is asked for.
    crash_dir : str
        Where crash files go of nodes that :func:`~rls_bids.engine.crashes.set_crash_dir` left out.
    """
    level = QUIET[min(run.verbosity, len(QUIET) - 1)]
    nipype.config.update_config(
        {
            "execution": {
                "check_version": "false",
                "crashdump_dir": crash_dir,
                "crashfile_format": "txt",
                "create_report": "false",
                "hash_method": "content",
                "keep_inputs": "true",
                "matplotlib_backend": "Agg",
                "poll_sleep_duration": "0.1",
                "remove_unnecessary_outputs": "false",
                "stop_on_first_crash": str(run.stop_on_first_crash).lower(),
            },
            "logging": {
                "log_directory": str(Path(work_dir)),
                "log_to_file": "false",
                "interface_level": level,
                "utils_level": level,
                "workflow_level": level,
            },
        }
    )
    nipype.logging.update_logging(nipype.config)
    logging.getLogger("nipype").propagate = False
    nipype.config.resource_monitor = run.resource_monitor
