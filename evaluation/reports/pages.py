"""Pages of results: a template becomes one self-contained HTML file, or Markdown or LaTeX with links."""

import base64
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from evaluation.reports.latex import escaped
from runtime.rundir import write_text

# Marks of a template of LaTeX, where braces and % mean something else.
MARKS: dict[str, Any] = {
    "block_start_string": "<%",
    "block_end_string": "%>",
    "variable_start_string": "<<",
    "variable_end_string": ">>",
    "comment_start_string": "<#",
    "comment_end_string": "#>",
}


def render(template: str, target: Path, **context: Any) -> None:
    """Fill in a template and write the page whole.

    In a template, `picture | embed` is a picture as data and `picture | link` its path relative to the
    page; `text | verbatim` is left as it is, all other text is made harmless.

    Args:
        template: Name of a file in ``evaluation/templates``.
        target: The page; its suffix says which it is, ``.html``, ``.md`` or ``.tex``.
        context: What the template names.
    """
    made = {".html": None, ".md": _harmless, ".tex": _printed}[target.suffix]
    environment = Environment(
        loader=PackageLoader("evaluation"),
        autoescape=target.suffix == ".html",
        trim_blocks=True,
        keep_trailing_newline=True,
        finalize=made,
        **(MARKS if target.suffix == ".tex" else {}),
    )
    environment.filters["verbatim"] = Markup
    environment.filters["embed"] = _embed
    environment.filters["link"] = lambda path: Path(path).relative_to(target.parent).as_posix()
    page = environment.get_template(template).render(**context)
    write_text(target, re.sub(r"\n{3,}", "\n\n", page))


def _printed(value: object) -> object:
    """Text that LaTeX prints as it stands."""
    return escaped(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _harmless(value: object) -> object:
    """Text in which Markdown finds no markup of HTML and no column of a table."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return value.replace("<", "&lt;").replace("|", "\\|")


def _embed(path: Path) -> str:
    kind = "svg+xml" if path.suffix == ".svg" else "png"
    return f"data:image/{kind};base64," + base64.b64encode(path.read_bytes()).decode("ascii")
