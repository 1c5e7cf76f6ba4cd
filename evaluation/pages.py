"""Pages of results: a template becomes one self-contained HTML file, or a Markdown file with links."""

import base64
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from runtime.rundir import write_text


def render(template: str, target: Path, **context: Any) -> None:
    """Fill in a template and write the page whole.

    In a template, `picture | embed` is a picture as data and `picture | link` its path relative to the
    page; `text | verbatim` is left as it is, all other text is made harmless.

    Args:
        template: Name of a file in ``evaluation/templates``.
        target: The page; its suffix says which it is, ``.html`` or ``.md``.
        context: What the template names.
    """
    html = target.suffix == ".html"
    environment = Environment(
        loader=PackageLoader("evaluation"), autoescape=html, trim_blocks=True, keep_trailing_newline=True
    )
    environment.finalize = None if html else _harmless
    environment.filters["verbatim"] = Markup
    environment.filters["embed"] = _embed
    environment.filters["link"] = lambda path: Path(path).relative_to(target.parent).as_posix()
    page = environment.get_template(template).render(**context)
    write_text(target, re.sub(r"\n{3,}", "\n\n", page))


def _harmless(value: object) -> object:
    """Text in which Markdown finds no markup of HTML and no column of a table."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return value.replace("<", "&lt;").replace("|", "\\|")


def _embed(path: Path) -> str:
    kind = "svg+xml" if path.suffix == ".svg" else "png"
    return f"data:image/{kind};base64," + base64.b64encode(path.read_bytes()).decode("ascii")
