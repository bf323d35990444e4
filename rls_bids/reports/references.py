"""The bibliography: entries of ``boilerplate.bib`` by their keys."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

_ENTRY = re.compile(r"^@(\w+)\{(\w+),\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^\s*(\w+) = \{(.*)\},?$", re.MULTILINE)
_FEW_AUTHORS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One entry of the bibliography; ``source`` is its BibTeX text, ``doi`` may be empty."""

    key: str
    authors: tuple[str, ...]
    title: str
    journal: str
    year: str
    where: str
    doi: str
    source: str

    @property
    def short(self) -> str:
        """How the text cites it, e.g. ``"Power et al. 2012"``."""
        names = [author.split(",")[0] for author in self.authors]
        if len(names) > _FEW_AUTHORS or "others" in names:
            return f"{names[0]} et al. {self.year}"
        return f"{' & '.join(names)} {self.year}"

    @property
    def line(self) -> str:
        """The entry of the reference list, without its DOI."""
        people = ", ".join("et al." if name == "others" else name for name in self.authors)
        return f"{people} ({self.year}). {self.title}. {self.journal} {self.where}."


@cache
def bibliography() -> Mapping[str, Reference]:
    """Return every entry of ``boilerplate.bib`` by its key."""
    text = files("rls_bids.resources").joinpath("boilerplate.bib").read_text(encoding="utf-8")
    return MappingProxyType({key: _reference(key, body) for _, key, body in _ENTRY.findall(text)})


def _reference(key: str, body: str) -> Reference:
    fields = dict(_FIELD.findall(body))
    issue = f"({fields['number']})" if "number" in fields else ""
    return Reference(
        key=key,
        authors=tuple(fields["author"].split(" and ")),
        title=fields["title"],
        journal=fields["journal"],
        year=fields["year"],
        where=f"{fields['volume']}{issue}: {fields['pages'].replace('--', '–')}",
        doi=fields.get("doi", ""),
        source=f"@article{{{key},\n{body}}}\n",
    )
