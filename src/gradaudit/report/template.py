"""Rendering the templates of this package with the style sheet that all pages share."""

from functools import cache
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from ..values.characters import visible


def fill(name: str, **values: Any) -> str:
    """Return the template `name` as HTML. All values are escaped, and invisible characters are written as escapes."""
    template = _environment().get_template(name)
    return visible(template.render(style=Markup(_own("page.css")), **values), lines=True)


@cache
def _environment() -> jinja2.Environment:
    """Return the environment, which compiles each template once per process."""
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_own),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _own(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
