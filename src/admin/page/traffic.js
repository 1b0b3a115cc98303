// Queries per second by outcome: one small chart each.

import { drawing, element, reconcile, setAttribute, setText } from "./dom.js";
import { CHART_WINDOW } from "./history.js";
import { rate } from "./words.js";

const WIDTH = 300;
const HEIGHT = 36;

// A chart is at least so high in queries per second: a single query must not look like a mountain.
const LEAST_SCALE = 5;

// Answers first, then what most often tells of trouble.
const FIRST = ["answered", "servfail", "nxdomain", "nodata", "refused"];

export function showTraffic(status, history) {
    const totals = status.queries.by_outcome;
    const names = Object.keys(totals).sort((a, b) => place(a) - place(b));
    const seen = names.filter((name) => name === "answered" || totals[name] > 0);
    const current = history.current();
    setText(document.getElementById("traffic-note"), `${rate(current.total)} now`);
    reconcile(document.getElementById("charts"), seen, (name) => name, make, (row, name) =>
        update(row, history, name, current.outcomes[name] ?? 0, totals[name]));
    const never = names.filter((name) => !seen.includes(name));
    setText(document.getElementById("traffic-none"), `Last five minutes.${never.length ? ` None since the start: ${never.join(", ")}.` : ""}`);
}

function place(name) {
    const at = FIRST.indexOf(name);
    return at < 0 ? FIRST.length : at;
}

function make(name) {
    const area = drawing("path", { class: "area" });
    const line = drawing("path", { class: "line" });
    const chart = drawing("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
        drawing("path", { class: "base", d: `M0 ${HEIGHT - 0.5}H${WIDTH}` }), area, line);
    const value = element("span", { className: "value" });
    const peak = element("span", { className: "peak" });
    const root = element("li", { "data-outcome": name }, element("span", { className: "name", textContent: name }), value,
        peak, chart);
    return { root, chart, area, line, value, peak };
}

function update(row, history, name, now, total) {
    const points = history.line(name);
    const most = points.reduce((most, point) => Math.max(most, point?.value ?? 0), 0);
    const scale = Math.max(LEAST_SCALE, most);
    const x = (point) => WIDTH - ((history.now - point.at) / CHART_WINDOW) * WIDTH;
    const y = (point) => HEIGHT - 0.5 - (point.value / scale) * (HEIGHT - 3);
    let [line, area, start] = ["", "", null];
    const close = (end) => {
        if (start !== null && end) area += `L${x(end).toFixed(1)} ${HEIGHT}L${start} ${HEIGHT}Z`;
        start = null;
    };
    let last = null;
    for (const point of points) {
        if (point === null) {
            close(last);
        } else {
            const at = `${x(point).toFixed(1)} ${y(point).toFixed(1)}`;
            line += `${start === null ? "M" : "L"}${at}`;
            area += `${start === null ? "M" : "L"}${at}`;
            start ??= x(point).toFixed(1);
        }
        last = point;
    }
    close(last);
    setAttribute(row.line, "d", line);
    setAttribute(row.area, "d", area);
    setText(row.value, `${rate(now)}/s`);
    setText(row.peak, most > 0 ? `peak ${rate(most)}` : `${total.toLocaleString("en")} in all`);
    setAttribute(row.chart, "aria-label",
        `${name}: ${rate(now)} per second now, at most ${rate(most)} in the last five minutes, ${total} since the start`);
}

