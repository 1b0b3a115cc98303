// What has to be seen first: one sentence on everything, and a banner for each thing that is wrong or by hand.

import { element, reconcile, setAttribute, setText } from "./dom.js";
import { isFallback, isLastKnown, isLent, isOwn } from "./names.js";
import { count, overrideText, some, span } from "./words.js";

// Overrides named in their banner.
const NAMED = 6;

export function showAlerts(status, now) {
    const banners = [...reloadBanner(status, now), ...status.zones.flatMap((zone) => zoneBanners(zone, status.zones.length > 1)),
        ...overrideBanners(status, now)];
    reconcile(document.getElementById("banners"), banners, (banner) => banner.id, makeBanner, (row, banner) => {
        setAttribute(row.root, "data-tone", banner.tone);
        setAttribute(row.root, "data-banner", banner.id.split(" ")[0]);
        setText(row.title, banner.title);
        setText(row.text, banner.text);
        reconcile(row.items, banner.items ?? [], (item) => item, (item) => ({ root: element("li", { textContent: item }) }), () => {});
    });
    setText(document.getElementById("summary"), summary(status));
    return banners;
}

function makeBanner() {
    const title = element("strong");
    const text = element("span");
    const items = element("ul", { role: "list" });
    return { root: element("li", {}, title, " ", text, items), title, text, items };
}

function reloadBanner(status, now) {
    const last = status.server.reload?.last;
    if (!last?.error) return [];
    const when = span((now - Date.parse(last.at)) / 1000);
    return [{
        id: "reload", tone: "bad", title: "The last reload failed",
        text: `${when} ago; what was in force before still is: ${last.error}`,
    }];
}

function zoneBanners(zone, several) {
    const where = several ? `${zone.name}: ` : "";
    const banners = [];
    const add = (id, tone, title, text) => banners.push({ id: `${id} ${zone.name}`, tone, title: where + title, text });
    if (!zone.ready) {
        add("unready", "bad", "Not ready", "No node has answered yet, so there is nothing to answer: queries for the cluster get SERVFAIL.");
    }
    if (zone.panic) {
        add("panic", "bad", "Panic", "More nodes are silent to this server than can be true while the cluster lists them: its own " +
            "network is suspected, and silent nodes are answered as if they were up.");
    }
    if (zone.lent_by) {
        add("lent", "bad", "Lent", `No node of this zone serves: those of ${zone.lent_by} are answered (fallback_zone).`);
    }
    const known = (zone.scopes ?? []).filter(isLastKnown);
    if (known.length > 0) {
        add("lastknown", "bad", lastKnownTitle(known), "Answered with the last nodes known to have served, marked as stale: " +
            `${some(known.map((scope) => scope.name))}.`);
    }
    if (zone.unverified) {
        add("unverified", "bad", "Nodes are not verified", "Whoever answers at a node's address is taken for the node: " +
            "insecure_skip_verify is set.");
    }
    if (zone.stale) {
        add("stale", "bad", "Stale", "No node answers discovery: the list of nodes is the last one known, not a current one.");
    }
    if (zone.remembered) {
        add("remembered", "warn", "Remembered", "The list of nodes is from the state file of an earlier run; the cluster itself has not been " +
            "reached since the start.");
    }
    return banners;
}

// Where only one address family is without live nodes, the other is answered as usual.
function lastKnownTitle(scopes) {
    const lacks = (family) => scopes.some((scope) => scope[family]?.serving === "last_known");
    const has = (family) => scopes.some((scope) => scope[family]?.serving === "live");
    if (!lacks("a") && has("a")) return "No live IPv6 node";
    if (!lacks("aaaa") && has("aaaa")) return "No live IPv4 node";
    return "No live node";
}

function overrideBanners(status, now) {
    const overrides = status.overrides ?? [];
    if (overrides.length === 0) return [];
    const items = overrides.slice(0, NAMED).map((override) => `${override.target}: ${overrideText(override, now)}`);
    if (overrides.length > NAMED) items.push(`and ${overrides.length - NAMED} more`);
    return [{ id: "overrides", tone: "note", title: count(overrides.length, "override"), text: "Set by hand:", items }];
}

// Everything in one sentence, as one would say it on the telephone.
export function summary(status) {
    const nodes = status.zones.flatMap((zone) => zone.nodes);
    const scopes = status.zones.flatMap((zone) => zone.scopes ?? []);
    const of = (name) => nodes.filter((node) => node.verdict === name).length;
    const parts = [];
    const wrong = [["down", "down"], ["left", "no longer listed"], ["distrusted", "silent but in rotation"], ["remembered", "only remembered"],
        ["joining", "joining"], ["leaving", "leaving"], ["drained", "drained"], ["forced", "forced up"]];
    for (const [name, words] of wrong) {
        if (of(name) > 0) parts.push(`${of(name).toLocaleString("en")} ${words}`);
    }
    if (nodes.length === 0) return "No node is known.";
    const inRotation = nodes.filter((node) => node.in).length;
    const begin = inRotation === nodes.length ? `All ${count(nodes.length, "node")} in rotation`
        : `${inRotation === 0 ? "None" : inRotation.toLocaleString("en")} of ${count(nodes.length, "node")} in rotation`;
    return [`${begin}${parts.length ? `: ${parts.join(", ")}` : ""}`, ...elsewhere(scopes)].join("; ") + ".";
}

// Names that are not answered from their own live nodes.
function elsewhere(scopes) {
    const lastKnown = scopes.filter(isLastKnown).length;
    const fallback = scopes.filter(isFallback).length;
    const lent = scopes.filter(isLent).length;
    const answered = (scope) => isOwn(scope) || isFallback(scope) || isLastKnown(scope) || isLent(scope);
    const without = scopes.filter((scope) => !answered(scope)).length;
    const texts = [];
    if (lastKnown > 0) texts.push(`${count(lastKnown, "name")} answered with the last nodes known`);
    if (lent > 0) texts.push(`${count(lent, "name")} answered with another zone's nodes`);
    if (fallback > 0) texts.push(`${count(fallback, "name")} in fallback`);
    if (without > 0) texts.push(`${count(without, "name")} without an answer`);
    return texts;
}
