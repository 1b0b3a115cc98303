// The nodes: zones, datacenters as columns, racks as boxes.

import { element, reconcile, setAttribute, setHidden, setText } from "./dom.js";
import { makeNode, updateNode } from "./node.js";
import { makeNames, updateNames } from "./names.js";
import { VERDICTS, count, inOrder, latency, overrideText, reason, some, verdict } from "./words.js";

// Zones up to so many nodes show each of them.
const SHOW_ALL = 60;

// Racks up to so many nodes are never folded.
const SMALL_RACK = 6;

// Nodes that a folded rack shows: those that are not simply up.
const FOLDED = 4;

// Nodes that a search shows in one rack.
const FOUND = 200;

const UNKNOWN = "place unknown";

// What the cluster's pictures have in common: `context` is {history, filter: {words, which}, demo, now, several}.
export function showZones(status, context) {
    let found = 0;
    reconcile(document.getElementById("zones"), status.zones, (zone) => zone.name, makeZone, (row, zone) => {
        found += updateZone(row, zone, context);
    });
    const active = context.filter.words.length > 0 || context.filter.which !== "all";
    const all = status.zones.reduce((sum, zone) => sum + zone.nodes.length, 0);
    setText(document.getElementById("found"), active ? `${found.toLocaleString("en")} of ${count(all, "node")}` : "");
}

// How many are in which state, the worst first: "2 down, 1 drained, 9 up".
export function tally(nodes) {
    const numbers = new Map();
    for (const node of nodes) numbers.set(node.verdict, (numbers.get(node.verdict) ?? 0) + 1);
    const weight = (name) => ["bad", "warn", "note", "good"].indexOf(VERDICTS[name]?.tone ?? "warn");
    const names = [...numbers.keys()].sort((a, b) => weight(a) - weight(b) || inOrder(a, b));
    return names.map((name) => `${numbers.get(name).toLocaleString("en")} ${VERDICTS[name]?.label ?? name}`).join(", ");
}

function makeZone(zone) {
    const title = element("h2", { textContent: zone.name });
    const facts = element("p", { className: "aside" });
    const datacenters = element("div", { className: "datacenters" });
    const empty = element("p", { className: "quiet", textContent: "No node is known." });
    const legend = element("p", { className: "quiet legend" });
    const names = makeNames();
    const root = element("section", { className: "zone", "data-zone": zone.name, "aria-label": `Zone ${zone.name}` },
        element("div", { className: "title" }, title, facts), datacenters, empty, legend, names.root);
    return { root, facts, datacenters, empty, legend, names, open: new Set() };
}

function updateZone(row, zone, context) {
    const listed = zone.nodes.length > 0 ? tally(zone.nodes) : "no nodes";
    const facts = [listed, `epoch ${zone.epoch}`, `TTL ${zone.ttl} s`, sourceOf(zone)];
    const unmapped = (zone.views ?? []).filter((view) => view.unmapped > 0).length;
    if (zone.views?.length > 1) facts.push(`${zone.views.length} views of its clients`);
    if (unmapped > 0) facts.push("not every node is mapped for all clients");
    if (zone.flat) facts.push("datacenters and racks unknown to its nodes");
    setText(row.facts, facts.join(" · "));
    const leads = context.history.leads(zone.name);
    const fair = fairShares(zone.nodes, leads);
    const levels = new Map((zone.scopes ?? []).map((scope) => [scope.name, scope]));
    const inZone = { ...context, zone, leads, fair, levels, open: row.open, fold: zone.nodes.length > SHOW_ALL };
    let found = 0;
    const places = grouped(zone.nodes, (node) => node.datacenter ?? UNKNOWN);
    reconcile(row.datacenters, places, ([name]) => name, makeDatacenter, (row, [name, nodes]) => {
        found += updateDatacenter(row, name, nodes, inZone);
    });
    setHidden(row.empty, zone.nodes.length > 0);
    setHidden(row.legend, zone.nodes.length === 0);
    const within = leads.seconds > 0 ? `the last ${Math.round(leads.seconds)} s` : "the last minute";
    setText(row.legend, `Of each node: state, for how long, latest probe, share of the answers it led in ${within}; the mark is an even share.`);
    updateNames(row.names, zone);
    return found;
}

const SOURCES = {
    nothing: "no list of nodes yet",
    snapshot: "nodes from the state file",
    discovery: "nodes from the cluster",
};

// Where the nodes come from; of those from the cluster also how, and why not better.
function sourceOf(zone) {
    const { source, reason } = zone.discovery ?? {};
    if (zone.source === "discovery" && source === "tables") return "nodes from system tables";
    if (zone.source === "discovery" && reason) return `nodes from /localnodes (${reason})`;
    return SOURCES[zone.source] ?? `nodes from ${zone.source}`;
}

// [[name, nodes]] in the order of the names.
function grouped(nodes, by) {
    const groups = new Map();
    for (const node of nodes) {
        const name = by(node);
        if (!groups.has(name)) groups.set(name, []);
        groups.get(name).push(node);
    }
    return [...groups].sort(([a], [b]) => inOrder(a, b));
}

const groupOf = (node) => `${node.datacenter}\n${node.rack}\n${node.address.includes(":")}`;

// What each node would lead if those of its rack and address family that are answered led equally often. Which names
// are asked decides how much a rack leads; within it, every name treats the nodes alike.
function fairShares(nodes, leads) {
    const groups = new Map();
    for (const node of nodes) {
        const group = groups.get(groupOf(node)) ?? { led: 0, answered: 0 };
        group.led += leads.of.get(node.address) ?? 0;
        group.answered += node.in ? 1 : 0;
        groups.set(groupOf(node), group);
    }
    return (node) => {
        const group = groups.get(groupOf(node));
        return node.in && group.answered > 0 ? group.led / group.answered : null;
    };
}

function makeDatacenter([name]) {
    const total = element("span", { className: "aside" });
    const racks = element("div", { className: "racks" });
    const root = element("section", { className: "datacenter", "data-datacenter": name, "aria-label": `Datacenter ${name}` },
        element("h3", {}, element("span", { className: "name", textContent: name }), " ", total), racks);
    return { root, total, racks };
}

function updateDatacenter(row, name, nodes, context) {
    let found = 0;
    const answered = nodes.filter((node) => node.in).length;
    setText(row.total, `${answered} of ${nodes.length} in rotation`);
    setAttribute(row.root, "data-tone", answered === 0 ? "bad" : null);
    const racks = grouped(nodes, (node) => node.rack ?? UNKNOWN);
    reconcile(row.racks, racks, ([name]) => name, makeRack, (row, [rack, nodes]) => {
        found += updateRack(row, name, rack, nodes, context);
    });
    setHidden(row.root, searching(context) && !row.racks.querySelector(":scope > .rack:not([hidden])"));
    return found;
}

function makeRack([name]) {
    const total = element("span", { className: "aside" });
    const fallback = element("p", { className: "fallback" });
    const ordered = element("p", { className: "ordered" });
    const digest = element("p", { className: "digest" });
    const list = element("ul", { className: "nodes", role: "list", "aria-label": `Nodes of ${name}` });
    const more = element("button", { type: "button", className: "more" });
    const hands = element("span", { className: "hands" });
    const root = element("section", { className: "rack", "data-rack": name, "aria-label": `Rack ${name}` },
        element("div", { className: "head" }, element("h4", { className: "name", textContent: name }), total, more, hands),
        fallback, ordered, digest, list);
    const row = { root, total, fallback, ordered, digest, list, more, hands };
    // What is opened is known by the last update, which also knows how to draw it.
    more.addEventListener("click", () => row.toggle());
    return row;
}

function updateRack(row, datacenter, rack, nodes, context) {
    const place = `${datacenter}/${rack}`;
    const answered = nodes.filter((node) => node.in).length;
    setText(row.total, `${answered} of ${nodes.length}`);
    setAttribute(row.root, "data-tone", answered === 0 ? "bad" : answered < nodes.length ? "part" : null);
    setText(row.fallback, fallbackOf(context.levels.get(place)));
    setHidden(row.fallback, row.fallback.textContent === "");
    const common = commonOverride(nodes);
    setText(row.ordered, common ? `${capital(overrideText(common, context.now))}${common.target === place ? "" : ` (all of ${common.target})`}` : "");
    setHidden(row.ordered, !common);
    context = { ...context, common };
    context.demo?.rackHands(row.hands, place, nodes);

    const search = searching(context);
    const matching = search ? nodes.filter((node) => matches(node, context.filter)) : nodes;
    const folds = !search && context.fold && nodes.length > SMALL_RACK;
    const open = context.open.has(place);
    let shown = [...matching].sort((a, b) => inOrder(a.address, b.address));
    if (folds) {
        // The bad ones on top, also when all are shown: that is what one opens it for.
        shown.sort((a, b) => Number(isPlain(a)) - Number(isPlain(b)));
        if (!open) shown = shown.filter((node) => !isPlain(node)).slice(0, FOLDED);
    }
    const hidden = matching.length - Math.min(shown.length, FOUND);
    shown = search ? shown.slice(0, FOUND) : shown;
    setHidden(row.digest, !folds);
    if (folds) setText(row.digest, digest(nodes, context));
    reconcile(row.list, shown, (node) => node.address, makeNode, (row, node) => updateNode(row, node, context));
    setHidden(row.list, shown.length === 0);
    setHidden(row.more, !(folds && (open || hidden > 0)));
    setText(row.more, open ? "Show fewer" : `Show all ${nodes.length}`);
    setAttribute(row.more, "aria-expanded", String(open));
    setAttribute(row.more, "aria-label", `${row.more.textContent} of ${place}`);
    row.toggle = () => {
        if (context.open.has(place)) context.open.delete(place);
        else context.open.add(place);
        context.redraw();
    };
    setHidden(row.root, search && matching.length === 0);
    return matching.length;
}

// "rack1.dc1… is answered from dc1" where it is.
function fallbackOf(scope) {
    if (!scope) return "";
    const from = new Set();
    for (const family of [scope.a, scope.aaaa]) {
        if (family && family.serving === "live" && family.level > 0) from.add(family.from);
    }
    return from.size > 0 ? `Its name is answered from ${[...from].join(" and ")}` : "";
}

// The override that all of a rack's nodes are under, which is then told once.
function commonOverride(nodes) {
    const first = nodes[0]?.override;
    const same = (node) => node.override?.target === first.target && node.override.set_at === first.set_at;
    return first && nodes.length > 1 && nodes.every(same) ? first : null;
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

const searching = (context) => context.filter.words.length > 0 || context.filter.which !== "all";

// Nothing to say about it.
const isPlain = (node) => node.in && !node.override && verdict(node).tone === "good" && (node.weight ?? 1) >= 1;

function matches(node, filter) {
    if (filter.which === "out" && node.in) return false;
    if (filter.which === "override" && !node.override) return false;
    const override = node.override ? `${node.override.by} ${node.override.reason} ${node.override.target} overridden` : "";
    const text = `${node.address} ${node.datacenter}/${node.rack} ${verdict(node).label} ${node.reason} ${override}`;
    const lower = text.toLowerCase();
    return filter.words.every((word) => lower.includes(word));
}

// ["30 down: timed out"], the most frequent first.
function ailments(nodes) {
    const numbers = new Map();
    for (const node of nodes) {
        const text = [verdict(node).label, reason(node)].filter(Boolean).join(": ");
        numbers.set(text, (numbers.get(text) ?? 0) + 1);
    }
    const sorted = [...numbers].sort(([, a], [, b]) => b - a).map(([text, number]) => `${number} ${text}`);
    return sorted.length > 0 ? [some(sorted)] : [];
}

// A folded rack in one line: what ails how many, how even its leads are, how fast its probes.
function digest(nodes, context) {
    const parts = ailments(nodes.filter((node) => !node.in));
    const ratios = [];
    const probes = [];
    for (const node of nodes) {
        const fair = context.fair(node);
        if (fair > 0) ratios.push((context.leads.of.get(node.address) ?? 0) / fair);
        if (node.in && Number.isFinite(node.probe_seconds)) probes.push(node.probe_seconds);
    }
    if (ratios.length > 0) {
        const off = Math.max(...ratios.map((ratio) => Math.abs(ratio - 1)));
        parts.push(`leads within ${Math.ceil(off * 100)} % of even`);
    }
    if (probes.length > 0) {
        parts.push(`probes up to ${latency(Math.max(...probes))}`);
    }
    return parts.join(" · ");
}

