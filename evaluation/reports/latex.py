"""Tables as LaTeX (booktabs), and text that LaTeX prints as it is."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

Cell = str | tuple[str, str]  # a value; or a value and what stands small below it; **value** is bold

# What LaTeX would read as a command, and characters that have one.
COMMANDS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_\allowbreak{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "−": "$-$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "·": r"$\cdot$",
    "∞": r"$\infty$",
    "√": r"$\surd$",
    "²": r"$^2$",
    "°": r"$^\circ$",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "→": r"$\rightarrow$",
    "\u00a0": "~",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "γ": r"$\gamma$",
    "λ": r"$\lambda$",
    "μ": r"$\mu$",
    "π": r"$\pi$",
    "σ": r"$\sigma$",
    "τ": r"$\tau$",
}


@dataclass(frozen=True)
class Table:
    """A table of words.

    Attributes:
        name: Of its file.
        caption: One or two sentences.
        header: A heading a column.
        rows: As many cells each as there are headings.
        left: Columns, counted from the left, that are set flush left; all others flush right.
        turned: Whether headings stand at an angle, because there are many.
    """

    name: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    left: int = 1
    turned: bool = False


def escaped(text: str) -> str:
    """Text that LaTeX prints as it stands; control characters are left out."""
    kept = (c for c in unicodedata.normalize("NFC", text) if c in "\n\t" or unicodedata.category(c)[0] != "C")
    return "".join(COMMANDS.get(c, c) for c in kept)


def undeclared(text: str) -> list[str]:
    """Declarations for the characters that pdfLaTeX would stop at, so that it prints their code points.

    Args:
        text: A whole document.
    """
    strange = sorted({c for c in text if ord(c) > 0x17F})  # what T1 fonts with utf8 do not cover
    return [rf"\DeclareUnicodeCharacter{{{ord(c):04X}}}{{[U+{ord(c):04X}]}}" for c in strange]


def tabular(table: Table) -> str:
    """The table alone, to be put into a table environment or read in by ``\\input``; needs booktabs."""
    columns = "l" * table.left + "r" * (len(table.header) - table.left)
    head = [_heading(text, i < table.left, table.turned) for i, text in enumerate(table.header)]
    lines = [
        rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
        r"\toprule",
        " & ".join(head) + r" \\",
        r"\midrule",
    ]
    lines += [" & ".join(_cell(cell) for cell in row) + r" \\" for row in table.rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def as_float(table: Table) -> str:
    """The table with caption and label, no wider than the text; needs booktabs and graphicx."""
    return "\n".join(
        [
            r"\begin{table}[htbp]",
            r"\centering\footnotesize",
            rf"\caption{{{escaped(table.caption)}}}",
            rf"\label{{tab:{label(table.name)}}}",
            r"\setbox0=\hbox{%",
            tabular(table).rstrip() + "%",
            r"}\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\box0}\else\box0\fi",
            r"\end{table}",
            "",
        ]
    )


def label(name: str) -> str:
    """A name as LaTeX takes it in labels and file names."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", name).strip("-")


def _heading(text: str, left: bool, turned: bool) -> str:
    words = escaped(text)
    return rf"\rotatebox{{60}}{{{words}}}" if turned and not left else words


def _value(text: str) -> str:
    bold = re.fullmatch(r"\*\*(.+)\*\*", text)
    return rf"\textbf{{{escaped(bold[1])}}}" if bold else escaped(text)


def _cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return _value(cell)
    value, below = _value(cell[0]), escaped(cell[1])
    if not below:
        return value
    return rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{value}\\[-2pt]{{\scriptsize {below}}}\end{{tabular}}"
