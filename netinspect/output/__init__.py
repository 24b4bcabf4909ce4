"""From a document to text: one module per format, listed here.

To add a format, write a module that satisfies ``base.Format`` and name it in ``FORMATS``.
"""

from typing import Final

from netinspect.output import dot, github, html, json, junit, markdown, mermaid, sarif, table, tree, wide, yaml
from netinspect.output.base import Format

FORMATS: Final[tuple[Format, ...]] = (
    table, wide, tree, json, yaml, dot, mermaid, junit, sarif, github, markdown, html,
)  # fmt: skip
BY_NAME: Final = {format_.NAME: format_ for format_ in FORMATS}
