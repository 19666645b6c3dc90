"""What does docs/config.md say? Every field of the config, in tables made from the schema.

python -m trainer.cli.config_page > docs/config.md
"""

from trainer.cli.help import documented, sections
from trainer.config.fields import Field

_HEAD = """\
# Config

Every field, with its default. Set one on the command line as `--config.FIELD=VALUE`, or in a recipe. An
unknown field or a value out of range is refused before the first step.

This page is generated: `python -m trainer.cli.config_page > docs/config.md`.
"""


def page() -> str:
    """The page, as Markdown."""
    parts = [_HEAD]
    for section, fields in sections().items():
        title = f"`{section}`" if section else "The run"
        rows = "\n".join(map(_row, fields))
        parts.append(f"## {title}\n\n| field | default | what |\n|---|---|---|\n{rows}\n")
    return "\n".join(parts)


def _row(field: Field) -> str:
    text = documented(field).replace("|", "\\|")
    return f"| `{field.name}` | `{field.shown(field.default)}` | {text} |"


if __name__ == "__main__":
    print(page(), end="")
