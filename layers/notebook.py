"""What notebooks show: tables as HTML."""

from collections.abc import Sequence
from html import escape


def html_table(rows: Sequence[Sequence[str]], left: int = 1, notes: Sequence[str] = ()) -> str:
    """A table whose first row is its head, the first ``left`` columns to the left; notes below."""
    lines = []
    for number, row in enumerate(rows):
        tag = "th" if number == 0 else "td"
        cells = "".join(
            f'<{tag} style="text-align: {"left" if column < left else "right"}">'
            f"{escape(cell)}</{tag}>"
            for column, cell in enumerate(row)
        )
        lines.append(f"<tr>{cells}</tr>")
    below = "".join(f"<br>{escape(note)}" for note in notes)
    body = "".join(lines[1:])
    return f"<table><thead>{lines[0]}</thead><tbody>{body}</tbody></table><div>{below[4:]}</div>"
