"""Rows from measurements, and the one table."""

import statistics

PEER_COLUMNS = [("relay", "bare relay"), ("tracemq", "TraceMQ"), ("tracemq-off", "trace off"),
                ("mosquitto", "Mosquitto")]


class Row:
    """One line: a figure per peer, the figure that is judged, its budget."""

    def __init__(self, title, unit, budget=None, judged_unit="x"):
        self.title, self.unit, self.budget, self.judged_unit = title, unit, budget, judged_unit
        self.figures = {}
        self.judged = None
        self.note = ""

    def verdict(self):
        if self.note.startswith("failed"):
            return "FAILED"
        if self.judged is None:
            return "not measured" if self.budget is not None else ""
        if self.budget is None:
            return ""
        return "pass" if self.judged <= self.budget else "MISS"

    def as_json(self):
        return {"row": self.title, "unit": self.unit, "figures": self.figures,
                "judged": self.judged, "judged_unit": self.judged_unit, "budget": self.budget,
                "verdict": self.verdict(), "note": self.note}


def median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


def ratio(runs, over, under, key):
    """Median over the rounds of one peer's figure by another's, both of the same round."""
    out = []
    for a, b in zip(runs.get(over, []), runs.get(under, [])):
        if a and b and key(b):
            out.append(key(a) / key(b))
    return median(out)


def figure(runs, peer, key):
    return median([key(r) for r in runs.get(peer, []) if r])


def show(value, unit=""):
    if value is None:
        return "-"
    if unit == "x":
        return f"{value:.2f}x"
    if unit == "%":
        return f"{value:+.1f} %"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else \
        f"{value:.3f}"


def budget_text(row):
    if row.budget is None:
        return "-"
    if row.judged_unit == "x":
        return f"{row.budget:g}x"
    return f"{row.budget:g} {row.judged_unit}".strip()


def render(rows):
    """A Markdown table that also reads well on a screen."""
    head = ["case", "unit"] + [label for _, label in PEER_COLUMNS] + ["judged", "budget", "", "note"]
    lines = [head]
    for r in rows:
        lines.append([r.title, r.unit] + [show(r.figures.get(n)) for n, _ in PEER_COLUMNS] +
                     [show(r.judged, r.judged_unit), budget_text(r), r.verdict(), r.note])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    widths[-1] = 0
    right = set(range(2, 8))

    def one(cells):
        return "| " + " | ".join(c.rjust(w) if i in right else c.ljust(w)
                                 for i, (c, w) in enumerate(zip(cells, widths))) + " |"

    rule = "|" + "|".join("-" * (w + 1) + (":" if i in right else "-")
                          for i, w in enumerate(widths)) + "|"
    return "\n".join([one(lines[0]), rule] + [one(line) for line in lines[1:]])
