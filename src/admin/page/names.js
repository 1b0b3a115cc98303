// Which name is answered from which level of its fallback chain.

import { element, reconcile, setAttribute, setHidden, setText } from "./dom.js";
import { count, inOrder } from "./words.js";

// Up to so many names all are shown; of more, those that are not answered from their own nodes.
const SHOW_ALL = 12;

export function makeNames() {
    const title = element("h3", { textContent: "Names" });
    const note = element("span", { className: "aside" });
    const body = element("tbody");
    const column = (text) => element("th", { scope: "col", textContent: text });
    const table = element("table", {}, element("caption", { className: "unseen", textContent: "Which name is answered from where" }),
        element("thead", {}, element("tr", {}, column("name"), column("A from"), column("AAAA from"), column("TTL"))), body);
    const more = element("button", { type: "button", className: "more" });
    const root = element("section", { className: "names", "aria-label": "Names and fallback" },
        element("div", { className: "head" }, title, " ", note), table, more);
    const names = { root, note, table, body, more, open: false };
    more.addEventListener("click", () => {
        names.open = !names.open;
        updateNames(names, names.zone);
    });
    return names;
}

export function updateNames(names, zone) {
    names.zone = zone;
    const scopes = zone.scopes ?? [];
    const odd = scopes.filter((scope) => !isOwn(scope));
    const fold = scopes.length > SHOW_ALL;
    const shown = fold && !names.open ? odd : scopes;
    setText(names.note, odd.length === 0 ? "each answered from its own live nodes" : `${odd.length} of ${count(scopes.length, "name")} not from their own live nodes`);
    const sorted = [...shown].sort((a, b) => depth(a) - depth(b) || inOrder(a.name, b.name));
    reconcile(names.body, sorted, (scope) => scope.name, makeName, updateName);
    setAttribute(names.table, "data-a-only", scopes.every((scope) => !scope.aaaa || scope.aaaa.serving === "absent") ? "" : null);
    setHidden(names.table, shown.length === 0);
    setHidden(names.more, !fold);
    setText(names.more, names.open ? "Show only names in fallback" : `Show all ${scopes.length} names`);
    setAttribute(names.more, "aria-expanded", String(names.open));
    setHidden(names.root, scopes.length === 0);
}

// The cluster's name first, then datacenters, then racks.
const depth = (scope) => (scope.name.includes("/") ? 2 : scope.name.includes(".") || scope.name === "cluster" ? 0 : 1);

const families = (scope) => [scope.a, scope.aaaa].filter((family) => family && family.serving !== "absent");

// Answered, in a family, with nodes of which none is live.
export const isLastKnown = (scope) => families(scope).some((family) => family.serving === "last_known");

// Answered, in a family, by another zone's nodes.
export const isLent = (scope) => families(scope).some((family) => family.serving === "lent");

// Answered, in a family, by live nodes of another scope.
export const isFallback = (scope) => families(scope).some((family) => family.serving === "live" && family.level > 0);

// Answered by its own live nodes, in each family that it has.
export function isOwn(scope) {
    const served = families(scope);
    return served.length > 0 && served.every((family) => family.serving === "live" && !(family.level > 0));
}

// Of its names the one that reads as the scope does: datacenter before rack, each a label.
function nameOf(scope) {
    const names = scope.names ?? [];
    const start = `${scope.name.split("/")[0].toLowerCase()}.`;
    return names.find((name) => name.startsWith(start)) ?? names[0] ?? scope.name;
}

function makeName() {
    const cell = () => element("td");
    const [name, a, aaaa, ttl] = [element("th", { scope: "row" }), cell(), cell(), cell()];
    return { root: element("tr", {}, name, a, aaaa, ttl), name, a, aaaa, ttl };
}

function updateName(row, scope) {
    setAttribute(row.root, "data-scope", scope.name);
    setText(row.name, nameOf(scope));
    setAttribute(row.name, "title", (scope.names ?? []).join("\n"));
    updateFamily(row.a, scope.a, scope);
    updateFamily(row.aaaa, scope.aaaa, scope);
    const ttls = new Set(families(scope).map((family) => family.ttl).filter(Number.isFinite));
    setText(row.ttl, [...ttls].map((ttl) => `${ttl} s`).join(" / "));
}

function updateFamily(cell, family, scope) {
    const [text, tone] = familyText(family, scope);
    setText(cell, text);
    setAttribute(cell, "data-tone", tone);
    setAttribute(cell, "title", scope.chain?.length > 1 ? `tried in this order: ${scope.chain.join(", ")}` : null);
}

function familyText(family, scope) {
    if (!family || family.serving === "absent") return ["–", null];
    if (family.serving === "unready") return ["nothing known yet: SERVFAIL", "bad"];
    const number = count(family.nodes?.length ?? 0, "node");
    if (family.serving === "lent") return [`another zone's: ${number}`, "bad"];
    if (family.serving === "last_known") return [`last known good: ${number}, stale`, "bad"];
    if (family.level > 0) return [`${family.from}: ${number}, fallback ${family.level} of ${scope.chain.length - 1}`, "warn"];
    return [`own: ${number}`, null];
}
