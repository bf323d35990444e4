"""The table of measures: one file each, one line here."""

from rls_bids.measures import seed
from rls_bids.records import Measure

MEASURES: dict[str, Measure] = {measure.name: measure for measure in (seed.MEASURE,)}
