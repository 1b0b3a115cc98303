"""Tables in Markdown."""

import statistics


def spread(values, digits=2):
    """min/median/max, or a dash."""
    values = [value for value in values if value is not None]
    if not values:
        return "-"
    return "/".join(f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


class Report:
    """Prints as it goes, and keeps all of it for a file."""

    def __init__(self, path):
        self.path = path
        self.text = []

    def add(self, text):
        print(text, flush=True)
        self.text.append(text)
        if self.path:
            # After each part: a run that is cut short leaves what it has.
            with open(self.path, "w", encoding="utf-8") as file:
                file.write("\n".join(self.text) + "\n")

    def section(self, title, header, rows, note=""):
        self.add(f"\n## {title}\n\n{table(header, rows)}" + (f"\n{note}\n" if note else ""))
