"""Write the descriptors of rls_bids for Boutiques and nipoppy from its own table of options.

``python interop/generate.py`` writes them; ``python interop/generate.py --check`` says whether
they are what it would write.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rls_bids import __version__
from rls_bids.options import (
    MANY,
    MAYBE,
    NUMBER,
    NUMBERS,
    OFF,
    ON,
    OPTIONS,
    PAIR,
    PROGRAM,
    TEXT,
    WHOLE,
)
from rls_bids.settings.limits import FILES, LEVELS, RANGES, WORDS

HERE = Path(__file__).parent
PLACES = (HERE / "boutiques.json", HERE / "nipoppy" / "descriptor.json")
DESCRIPTION = (
    "Functional connectivity in restless legs syndrome: from raw T1w and resting-state BOLD "
    "images (or fMRIPrep's output) to seed maps, local measures, matrices, graph metrics and "
    "group models."
)
EXIT_CODES = {
    1: "Something failed; the report and the last lines of stderr name it.",
    2: "Bad arguments, an unknown label, or a filter that leaves nothing.",
    65: "The input data cannot be used.",
    70: "The workflow could not be built on this machine.",
    74: "The output or work directory cannot be written.",
    130: "Stopped by SIGINT.",
    143: "Stopped by SIGTERM.",
}
KINDS: dict[str, dict[str, Any]] = {
    MANY: {"type": "String", "list": True},
    TEXT: {"type": "String"},
    MAYBE: {"type": "String"},  # a value that may be left out, which Boutiques does not know
    WHOLE: {"type": "Number", "integer": True},
    NUMBER: {"type": "Number"},
    NUMBERS: {"type": "Number", "list": True},
    PAIR: {"type": "Number", "list": True, "min-list-entries": 2, "max-list-entries": 2},
    ON: {"type": "Flag"},
    OFF: {"type": "Flag"},
}
# Words that stand for what a setting may be, but beside which other values are allowed.
OPEN = ("anat.resolution",)


def positionals() -> list[dict[str, Any]]:
    """Return the three arguments of every BIDS App."""
    return [
        {"id": "bids_dir", "name": "bids_dir", "type": "File", "optional": False,
         "description": "Raw BIDS data set.", "value-key": "[BIDS_DIR]"},
        {"id": "output_dir", "name": "output_dir", "type": "String", "optional": False,
         "description": "Where everything is written.", "value-key": "[OUTPUT_DIR]"},
        {"id": "analysis_level", "name": "analysis_level", "type": "String", "optional": False,
         "description": "Which level to run.", "value-choices": list(LEVELS),
         "value-key": "[ANALYSIS_LEVEL]"},
    ]  # fmt: skip


def options() -> Iterator[dict[str, Any]]:
    """Yield an input for every option."""
    for table in OPTIONS.values():
        for flags, setting, kind, _, text in table:
            flag = next(each for each in flags.split() if each.startswith("--"))
            name = flag.removeprefix("--").replace("-", "_")
            one = {"id": name, "name": name, "description": text[0].upper() + text[1:]}
            one |= KINDS[kind] | {"optional": True, "command-line-flag": flag}
            one["value-key"] = f"[{name.upper()}]"
            if setting in FILES:
                one["type"] = "File"
            if setting in WORDS and setting not in OPEN:
                one["value-choices"] = list(WORDS[setting][1])
            if setting in RANGES and kind in (WHOLE, NUMBER, NUMBERS, PAIR):
                one["minimum"] = RANGES[setting][1]
                one["exclusive-minimum"] = not RANGES[setting][2]
            yield one
    yield {
        "id": "verbose", "name": "verbose", "description": "Say more.", "type": "Flag",
        "optional": True, "command-line-flag": "-v", "value-key": "[VERBOSE]",
    }  # fmt: skip


def descriptor() -> dict[str, Any]:
    """Return the descriptor, by version 0.5 of the schema of Boutiques."""
    inputs = [*positionals(), *options()]
    return {
        "name": PROGRAM,
        "description": DESCRIPTION,
        "tool-version": __version__,
        "schema-version": "0.5",
        "command-line": " ".join([PROGRAM, *(one["value-key"] for one in inputs)]),
        "inputs": inputs,
        "output-files": [
            {"id": "results", "name": "results", "path-template": "[OUTPUT_DIR]",
             "description": "BIDS derivatives with a page a participant.", "optional": False},
        ],
        "error-codes": [
            {"code": code, "description": text} for code, text in EXIT_CODES.items()
        ],
        "tags": {"domain": ["neuroinformatics", "mri", "bids-app"]},
    }  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Write or check the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    text = json.dumps(descriptor(), indent=2) + "\n"
    if not parser.parse_args(argv).check:
        for path in PLACES:
            path.write_text(text, encoding="utf-8")
        return 0
    old = [path for path in PLACES if not path.is_file() or path.read_text("utf-8") != text]
    for path in old:
        sys.stderr.write(f"{path} is not what the options say: run python interop/generate.py\n")
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main())
