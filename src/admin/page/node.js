// One node: a line, and below it what is to be said about it.

import { drawing, element, setAttribute, setHidden, setStyle, setText, unseen } from "./dom.js";
import { latency, overrideText, percent, reason, span, verdict } from "./words.js";

// A different shape for each verdict, so that colour is never needed to tell them apart.
const SHAPES = {
    up: [["circle", { cx: 6, cy: 6, r: 4, class: "fill" }]],
    listed: [["circle", { cx: 6, cy: 6, r: 3.5, class: "stroke" }]],
    distrusted: [["circle", { cx: 6, cy: 6, r: 4, class: "stroke" }], ["path", { d: "M6 2a4 4 0 0 1 0 8z", class: "fill" }]],
    joining: [["circle", { cx: 6, cy: 6, r: 4, class: "stroke" }], ["path", { d: "M6 6V2a4 4 0 0 1 4 4z", class: "fill" }]],
    remembered: [["circle", { cx: 6, cy: 6, r: 4, class: "stroke dashed" }]],
    down: [["path", { d: "M2 2 10 10M10 2 2 10", class: "stroke thick" }]],
    left: [["path", { d: "M1.5 6H10.5", class: "stroke thick" }]],
    drained: [["path", { d: "M1.5 2.5H10.5L6 10z", class: "stroke" }]],
    forced: [["path", { d: "M1.5 9.5H10.5L6 2z", class: "fill" }]],
};
const OTHER = [["rect", { x: 2, y: 2, width: 8, height: 8, class: "stroke" }]];

// The bar is twice the fair share long, so that the mark of the fair share is always in its middle.
const BAR = 2;

export function makeNode(node) {
    const mark = drawing("svg", { viewBox: "0 0 12 12", class: "mark", "aria-hidden": "true" });
    const state = element("span", { className: "state" });
    const since = element("time", { className: "since" });
    const probe = element("span", { className: "probe" });
    const bar = element("span", { className: "bar", "aria-hidden": "true" });
    const share = element("span", { className: "share" });
    const fair = unseen("");
    const hands = element("span", { className: "hands" });
    const why = element("p", { className: "why" });
    const override = element("p", { className: "override" });
    const address = element("span", { className: "address", textContent: node.address });
    const root = element("li", { className: "node", "data-address": node.address }, mark, address, state, since, probe,
        element("span", { className: "leads" }, bar, share, fair), hands, why, override);
    return { root, mark, address, state, since, probe, bar, share, fair, hands, why, override };
}

export function updateNode(row, node, context) {
    const { label, tone } = verdict(node);
    setAttribute(row.root, "data-verdict", node.verdict);
    setAttribute(row.root, "data-tone", tone);
    setAttribute(row.root, "data-in", String(Boolean(node.in)));
    if (row.drawn !== node.verdict) {
        row.mark.replaceChildren(...(SHAPES[node.verdict] ?? OTHER).map(([tag, attributes]) => drawing(tag, attributes)));
        row.drawn = node.verdict;
    }
    setText(row.state, label);
    setAttribute(row.address, "title", seenText(node, context.zone));
    // A node is drained since somebody wanted it so, however long it has been up.
    const since = isForced(node) ? node.override.from : node.since;
    setText(row.since, since ? span((context.now - Date.parse(since)) / 1000) : "");
    setAttribute(row.since, "datetime", since ?? null);
    setAttribute(row.since, "title", since ? `${label} since ${since}` : null);
    const probed = Number.isFinite(node.probe_seconds);
    setText(row.probe, probed ? latency(node.probe_seconds) : "");
    setAttribute(row.root, "data-unprobed", probed ? null : "");
    setAttribute(row.probe, "title", probed ? "how long the latest probe took" : null);
    updateShare(row, node, context);
    setAttribute(row.root, "data-idle", !node.in && !(context.leads.of.get(node.address) > 0) ? "" : null);

    const why = [reason(node)];
    if (Number.isFinite(node.weight) && node.weight < 1 && node.in) {
        why.push(`starts slowly: leads ${Math.round(node.weight * 100)} % of its share`);
    }
    // What an override says is said once, below.
    const text = isForced(node) ? why.slice(1) : why;
    setText(row.why, text.filter(Boolean).join("; "));
    setHidden(row.why, row.why.textContent === "");
    const override = node.override && !context.common ? sentence(overrideText(node.override, context.now), node) : "";
    setText(row.override, override);
    setHidden(row.override, override === "");
    setAttribute(row.root, "data-hands", context.demo ? "" : null);
    context.demo?.nodeHands(row.hands, node);
}

// The addresses that some clients are given for it.
function seenText(node, zone) {
    const of = (view) => zone?.views?.[view]?.clients?.join(", ") || "others";
    const seen = (node.seen ?? []).map(({ view, address, port }) => `seen at ${address}${port ? `, port ${port}` : ""} by ${of(view)}`);
    return seen.length > 0 ? seen.join("\n") : null;
}

// Whether the verdict is that of an override.
const isForced = (node) => Boolean(node.override) && (node.verdict === "drained" || node.verdict === "forced");

// Whom the override was meant for, where it is not this node alone.
function sentence(text, node) {
    const target = String(node.override.target ?? node.address);
    const begun = text[0].toUpperCase() + text.slice(1);
    return target === node.address ? begun : `${begun} (all of ${target})`;
}

function updateShare(row, node, context) {
    const { leads } = context;
    const led = leads.of.get(node.address) ?? 0;
    const fair = context.fair(node);
    const known = leads.seconds > 0 && leads.total > 0;
    const within = `in the last ${Math.round(leads.seconds)} s`;
    setText(row.share, known ? percent(led / leads.total) : "–");
    setStyle(row.bar, "--fill", known && fair > 0 ? String(Math.min(1, led / fair / BAR)) : "0");
    setAttribute(row.bar, "data-fair", known && fair > 0 ? "" : null);
    setText(row.fair, known ? ` of the answers led${fair > 0 ? `, ${percent(fair / leads.total)} would be even` : ""}` : " no answers led");
    setAttribute(row.bar.parentElement, "title", known
        ? `led ${led.toLocaleString("en")} of ${leads.total.toLocaleString("en")} answers ${within}${fair > 0 ? `; ${percent(fair / leads.total)} would be even within its rack` : ""}`
        : "no answers in the last minute");
}
