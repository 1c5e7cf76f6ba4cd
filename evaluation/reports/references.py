"""A work of the literature: as BibTeX, as a line, and as the short form in a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """One work.

    Attributes:
        authors: As in BibTeX: family name, comma, initials; joined by "and"; "others" for the rest.
        title: As printed.
        year: Of publication.
        where: Journal, conference, publisher, or nothing for what is on arXiv alone.
        kind: Of the BibTeX entry.
        volume: Volume and, in brackets, number.
        pages: First and last, or the article's number.
        doi: Without a prefix.
        arxiv: Its number.
        url: Where there is neither.
    """

    authors: str
    title: str
    year: int
    where: str = ""
    kind: str = "inproceedings"
    volume: str = ""
    pages: str = ""
    doi: str = ""
    arxiv: str = ""
    url: str = ""

    @property
    def short(self) -> str:
        """Family names and year: ``Karras et al. 2022``."""
        names = [part.split(",")[0].strip() for part in self.authors.split(" and ")]
        if len(names) > 2 or names[-1] == "others":
            return f"{names[0]} et al. {self.year}"
        return f"{' and '.join(names)} {self.year}"

    @property
    def line(self) -> str:
        """The work as a line of a list of references."""
        who = "; ".join("et al." if name == "others" else name for name in self.authors.split(" and "))
        place = ", ".join(part for part in (self.where, self.volume, self.pages) if part)
        found = f"doi {self.doi}" if self.doi else f"arXiv:{self.arxiv}" if self.arxiv else self.url
        end = ", ".join(part for part in (place, str(self.year), found) if part)
        return f"{who.rstrip('.')}. {self.title}. {end}."


def paper(authors: str, title: str, year: int, where: str, arxiv: str) -> Reference:
    """A paper of a conference, or of arXiv alone."""
    kind = "inproceedings" if where else "misc"
    return Reference(authors, title, year, where, kind, arxiv=arxiv)


def article(
    authors: str, title: str, year: int, where: str, volume: str, pages: str, doi: str = ""
) -> Reference:
    """An article of a journal."""
    return Reference(authors, title, year, where, "article", volume, pages, doi)


def cited_keys(text: str) -> list[str]:
    """Keys of the works that a text cites as ``[@one; @two]``, in order, each once."""
    groups = re.findall(r"\[(@[^\]]+)\]", text)
    return list(dict.fromkeys(key for group in groups for key in re.findall(r"@([\w-]+)", group)))


def bibtex(works: Iterable[tuple[str, Reference]]) -> str:
    """A BibTeX file of some works."""
    return "\n".join(_entry(key, work) for key, work in works)


def _entry(key: str, work: Reference) -> str:
    place = {"article": "journal", "inproceedings": "booktitle", "book": "publisher"}
    volume, _, number = work.volume.rstrip(")").partition("(")
    fields = {
        "author": work.authors,
        "title": f"{{{work.title}}}",
        place.get(work.kind, "howpublished"): work.where,
        "volume": volume,
        "number": number,
        "pages": work.pages,
        "year": str(work.year),
        "doi": work.doi,
        "eprint": work.arxiv,
        "archiveprefix": "arXiv" if work.arxiv else "",
        "url": work.url,
    }
    lines = [f"  {name} = {{{value}}}" for name, value in fields.items() if value]
    return f"@{work.kind}{{{key},\n" + ",\n".join(lines) + "\n}\n"
