"""The tables of a comparison as LaTeX with booktabs."""

from __future__ import annotations

import re
import unicodedata

from ..comparison import SideBySide
from ..values.characters import visible
from . import formatting
from .comparison_tables import INTERVALS, ComparedCell, ComparedTable, tables

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "-": r"{-}",
    "[": "{[}",  # after a line break it would start an argument, and so would a star
    "]": "{]}",
    "*": "{*}",
    "µ": r"$\mu$",
    "÷": r"$\div$",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    formatting.MINUS: "$-$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "±": r"$\pm$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "∞": r"$\infty$",
    "…": r"\ldots{}",
    "–": "--",
    "—": "---",
    "’": "'",
    "‘": "`",
    "“": "``",
    "”": "''",
    "²": "$^2$",
    "³": "$^3$",
    "\N{NO-BREAK SPACE}": "~",
}
GREEK = re.compile(r"GREEK (SMALL|CAPITAL) LETTER (?:FINAL )?([A-Z]+)$")
LETTERS = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lamda mu nu xi pi rho sigma tau upsilon phi chi psi omega"
)
CAPITALS = "gamma delta theta lamda xi pi sigma upsilon phi psi omega"  # the others look like Latin letters


def latex_text(text: str) -> str:
    r"""Return text as LaTeX shows it literally in any engine; characters without a command become `\texttt{U+4E2D}`."""
    return "".join(map(_character, visible(text)))


def latex_tables(compared: SideBySide) -> str:
    """Return one `tabular` for each table and the notes below; the document needs `booktabs` and `textcomp`."""
    blocks = [
        r"% Needs \usepackage[T1]{fontenc}, \usepackage{textcomp} and \usepackage{booktabs}.",
        *map(_tabular, tables(compared)),
    ]
    notes = [INTERVALS, *compared.notes]
    blocks.append("\\par\\smallskip\n{\\footnotesize\n" + "\n\n".join(map(latex_text, notes)) + "\\par}")
    return "\n".join(blocks)


def _tabular(table: ComparedTable) -> str:
    lines = [
        rf"\par\medskip\noindent {latex_text(table.title)}\par\smallskip\noindent",
        rf"\begin{{tabular}}{{l{'r' * (len(table.head) - 1)}}}",
        r"\toprule",
        " & ".join(map(latex_text, table.head)) + r" \\",
        r"\midrule",
    ]
    for label, count, cells in table.rows:
        lines.append(" & ".join((latex_text(label), latex_text(count), *map(_cell, cells))) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _cell(cell: ComparedCell) -> str:
    r"""Return a mean with its interval as a subscript, such as `$26.1_{[24.0,\,28.2]}$`."""
    if not cell.bounds:
        return " ".join(filter(None, (latex_text(cell.text), latex_text(cell.count))))
    count = f" {latex_text(f'({cell.count})')}" if cell.count else ""
    return f"${_number(cell.text)}_{{{_number(cell.bounds)}}}${count}"


def _number(text: str) -> str:
    """Return a number or an interval for math mode."""
    plain = text.replace(formatting.MINUS, "-").replace(", ", r",\,").replace(" × 10", r"\times 10")
    powers = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    return re.sub(r"[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda found: f"^{{{found.group().translate(powers)}}}", plain)


def _character(character: str) -> str:
    if character in SPECIAL:
        return SPECIAL[character]
    if " " <= character <= "~":
        return character
    greek = GREEK.match(unicodedata.name(character, ""))
    if greek and greek.group(2).lower() in (LETTERS if greek.group(1) == "SMALL" else CAPITALS).split():
        name = greek.group(2).lower().replace("lamda", "lambda")
        return f"$\\{name if greek.group(1) == 'SMALL' else name.capitalize()}$"
    if "À" <= character <= "ÿ":
        return character
    return rf"\texttt{{U+{ord(character):04X}}}"
