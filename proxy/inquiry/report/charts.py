"""The charts of a report, as SVG with real text, so that names in any script show in the reader's own fonts.

Drawn by Vega-Lite within the process (vl-convert): nothing is fetched. What stands in the data is data there, never a formula
or a piece of markup.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import vl_convert

from proxy.audit.tail import safe
from proxy.inquiry.report.figures import Figures

FONT = "'Noto Sans', 'Noto Sans CJK SC', 'Microsoft YaHei', 'PingFang SC', 'Segoe UI', Helvetica, Arial, sans-serif"
INK, QUIET, GRID = "#1c2733", "#5b6b7b", "#e3e8ee"
_LEVELS = ("#9db8d2", "#3f74a8", "#b4472e", "#6d1a36")
"""From the lightest to the gravest."""
_HOW = {"masked": "#9db8d2", "in clear": "#b4472e", "refused": "#5b6b7b"}
_SHORT_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_WIDE = 960
_MANY = 15
_ID = re.compile(r'(\bid="|url\(#|href="#)')

Rows = Sequence[Mapping[str, object]]


def colours(levels: Sequence[str]) -> dict[str, str]:
    """The gravest level is always the darkest."""
    keep = _LEVELS[-len(levels) :] if len(levels) <= 2 else _LEVELS
    found = [keep[min(len(keep) - 1, n * len(keep) // max(1, len(levels)))] for n in range(len(levels))]
    return dict(zip(levels, found, strict=True))


def draw(figures: Figures) -> dict[str, str]:
    """SVG by name; a chart without data is left out."""
    specs = {
        "days": _days(figures), "people": _people(figures), "classes": _classes(figures), "hours": _hours(figures),
        "refusals": _refusals(figures), "top_reasons": _reasons(figures),
    }  # fmt: skip
    return {name: _svg(name, spec) for name, spec in specs.items() if spec is not None}


def _svg(name: str, spec: dict[str, Any]) -> str:
    whole = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json", "background": "transparent", "padding": 4, **spec,
        "config": {
            "font": FONT, "view": {"stroke": None},
            "axis": {"labelColor": QUIET, "titleColor": QUIET, "titleFontWeight": "normal", "gridColor": GRID,
             "domainColor": GRID,
                     "tickColor": GRID, "labelFontSize": 11, "titleFontSize": 11, "labelLimit": 340},
            "legend": {"labelColor": QUIET, "titleColor": QUIET, "orient": "top", "title": None, "labelFontSize": 11,
             "symbolType": "square"},
        },
    }  # fmt: skip
    svg = str(vl_convert.vegalite_to_svg(whole))
    return _ID.sub(lambda found: f"{found[1]}{name}-", svg)  # several charts stand on one page: their ids are their own


def _time_axis(days: Rows) -> dict[str, Any]:
    span = len({row["day"] for row in days})
    return {
        "format": "%d %b" if span > 14 else "%a %d",
        "grid": False,
        "title": None,
        "labelAngle": 0,
        "tickCount": min(span, 10),
    }


def _all_days(figures: Figures) -> list[date]:
    first, last = figures.period.start.date(), (figures.period.end - timedelta(microseconds=1)).date()
    return [first + timedelta(days=n) for n in range(min(3700, (last - first).days + 1))]


def _per_day(
    figures: Figures, rows: Rows, what: Mapping[str, str], order: Sequence[str], field: str, amount: str, title: str
) -> dict[str, Any]:
    """Bars, one for each day of the period, in colours."""
    days = _all_days(figures)
    data = [{"day": str(day), field: order[0], amount: 0} for day in days]
    data += [{"day": str(row["day"]), field: safe(str(row[field])), amount: row[amount] or 0} for row in rows]
    weekly = len(days) > 100
    return {
        "width": _WIDE, "height": 170, "data": {"values": data},
        "mark": {"type": "bar", "width": {"band": 0.8}},
        "encoding": {
            "x": {"field": "day", "type": "temporal", "timeUnit": "yearweek" if weekly else "yearmonthdate",
                  "axis": _time_axis([{"day": day} for day in days])},
            "y": {"field": amount, "type": "quantitative", "aggregate": "sum",
             "axis": {"title": title + (" a week" if weekly else " a day"), "tickCount": 4}},
            "color": {"field": field, "type": "nominal", "scale": {"domain": list(order), "range": [what[x] for x in order]},
                      "legend": {} if len(order) > 1 else None},
            "order": {"field": field},
        },
    }  # fmt: skip


def _days(figures: Figures) -> dict[str, Any] | None:
    rows = figures.series["days"]
    if not rows:
        return None
    levels = [safe(level) for level in figures.levels]
    return _per_day(figures, rows, colours(levels), levels, "level", "statements", "statements")


def _refusals(figures: Figures) -> dict[str, Any] | None:
    rows = [row for row in figures.series["verdicts"] if row["verdict"] == "refuse"]
    return _per_day(figures, rows, {"refuse": "#5b6b7b"}, ["refuse"], "verdict", "statements", "refused") if rows else None


def _bars(
    data: list[dict[str, object]], name: str, amount: str, title: str, colour: dict[str, Any], width: int = 760
) -> dict[str, Any]:
    return {
        "width": width, "height": {"step": 21}, "data": {"values": data}, "mark": {"type": "bar", "height": {"band": 0.72}},
        "encoding": {
            "y": {"field": name, "type": "nominal", "sort": None, "axis": {"title": None, "ticks": False, "domain": False,
             "labelColor": INK}},
            "x": {"field": amount, "type": "quantitative", "aggregate": "sum", "axis": {"title": title, "tickCount": 5}},
            "color": colour,
        },
    }  # fmt: skip


def _people(figures: Figures) -> dict[str, Any] | None:
    """Whose statements gave most rows in clear, and by what."""
    top = [str(row["person"]) for row in figures.tables["top"].records()[:_MANY]]
    if not top:
        return None
    levels = [safe(level) for level in figures.levels]
    rows = {(str(row["person"]), str(row["level"])): row["rows"] for row in figures.series["people"]}
    data = [
        {"person": safe(person), "level": safe(level), "rows": rows.get((person, level)) or 0}
        for person in top
        for level in figures.levels
    ]
    scale = {"domain": levels, "range": [colours(levels)[x] for x in levels]}
    return _bars(data, "person", "rows", "rows in clear", {"field": "level", "type": "nominal", "scale": scale})


def _classes(figures: Figures) -> dict[str, Any] | None:
    rows = figures.series["classes"]
    if not rows:
        return None
    sums: dict[str, int] = {}
    for row in rows:
        sums[str(row["class"])] = sums.get(str(row["class"]), 0) + int(str(row["statements"]))
    order = sorted(sums, key=lambda name: -sums[name])[:_MANY]
    data = [
        {"class": safe(name), "how": row["how"], "statements": row["statements"]}
        for name in order
        for row in rows
        if row["class"] == name
    ]
    scale = {"domain": list(_HOW), "range": list(_HOW.values())}
    return _bars(data, "class", "statements", "statements", {"field": "how", "type": "nominal", "scale": scale})


def _reasons(figures: Figures) -> dict[str, Any] | None:
    rows = figures.tables["refusals"].records()[:10]
    data = [{"reason": safe(f"{row['sqlstate']} {row['reason']}"), "statements": row["statements"]} for row in rows]
    return _bars(data, "reason", "statements", "statements", {"value": "#5b6b7b"}, 600) if data else None


def _hours(figures: Figures) -> dict[str, Any] | None:
    """The week by hours; working hours are framed."""
    rows = figures.series["hours"]
    if not rows:
        return None
    found = {(int(str(row["weekday"])), int(str(row["hour"]))): row["statements"] for row in rows}
    data = [
        {"day": _SHORT_DAYS[day], "hour": f"{hour:02d}", "statements": found.get((day, hour), 0)}
        for day in range(7)
        for hour in range(24)
    ]
    hours = figures.period.hours
    framed = [
        {"day": _SHORT_DAYS[day], "hour": f"{hour:02d}"} for day in hours.days for hour in range(24)
        if hours.start <= hour * 60 + 59 and hour * 60 < hours.end
    ]  # fmt: skip
    x = {"field": "hour", "type": "ordinal", "axis": {"title": "hour", "labelAngle": 0, "ticks": False, "domain": False}}
    y = {"field": "day", "type": "ordinal", "sort": list(_SHORT_DAYS), "axis": {"title": None, "ticks": False, "domain": False}}
    return {
        "width": _WIDE, "height": 7 * 22,
        "layer": [
            {"data": {"values": data}, "mark": {"type": "rect", "stroke": "white", "strokeWidth": 1.5},
             "encoding": {"x": x, "y": y, "color": {"field": "statements", "type": "quantitative",
                                                    "scale": {"type": "sqrt", "range": ["#f3f6f9", "#e2b5a5", "#b4472e"],
                                                     "interpolate": "rgb"},
                                                    "legend": {"orient": "right", "title": "statements",
                                                     "gradientLength": 120}}}},
            {"data": {"values": framed}, "mark": {"type": "rect", "fill": None, "stroke": "#3f74a8", "strokeWidth": 1},
             "encoding": {"x": x, "y": y}},
        ],
    }  # fmt: skip
