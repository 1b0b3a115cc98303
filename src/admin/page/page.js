// The status page: takes what the server sends, and has every part draw it.

import { showAlerts, summary } from "./alerts.js";
import { Changes } from "./changes.js";
import { showZones } from "./cluster.js";
import { Demo } from "./demo.js";
import { element, reconcile, setAttribute, setText } from "./dom.js";
import { Feed } from "./feed.js";
import { History } from "./history.js";
import { showTraffic } from "./traffic.js";
import { clock, longSpan, span } from "./words.js";

const by = (id) => document.getElementById(id);
const meta = (name) => document.querySelector(`meta[name=${name}]`).content;

// What is drawn; the last status stays for whatever draws again without a new one.
const page = { status: null, process: null, connection: { state: "waiting" }, missing: 0 };
const history = new History();
const changes = new Changes();
const demo = meta("demo") === "true" ? new Demo(tellDemo) : null;
if (demo) demo.redraw = () => draw();
const feed = new Feed({ onStatus, onChanges: (all) => changes.add(all), onConnection });

function onStatus(status) {
    const process = `${status.server.pid} ${status.server.started}`;
    if (page.process !== process) {
        changes.forget();
        page.missing = 0;
        feed.changesSince(0);
    } else {
        catchUp(status.events.latest);
    }
    Object.assign(page, { status, process });
    history.add(status);
    demo?.look();
    draw();
}

// Changes come as events of their own; what did not come is fetched, but not before it had the time to come: the second
// picture in a row that knows of a change which is missing here is none of the same moment.
function catchUp(latest) {
    page.missing = latest > changes.latest ? page.missing + 1 : 0;
    if (page.missing >= 2) feed.changesSince(changes.latest);
}

function draw() {
    const { status } = page;
    if (!status) return;
    const now = Date.parse(status.server.started) + status.server.uptime * 1000;
    const filter = {
        words: by("find").value.toLowerCase().split(/\s+/).filter(Boolean),
        which: document.querySelector("input[name=which]:checked").value,
    };
    showHeader(status, now);
    const banners = showAlerts(status, now);
    showZones(status, { history, filter, demo, now, redraw: draw });
    showTraffic(status, history);
    demo?.show(status);
    changes.filter(filter.words, status.zones.length);
    page.worst = banners.some((banner) => banner.tone === "bad") || status.zones.some((zone) => zone.nodes.some((node) => !node.in));
    showTitle();
}

function showHeader(status, now) {
    const { server } = status;
    setText(by("identity"), server.identity || "alternator-dns");
    const last = server.reload?.last;
    const reload = last ? `${last.error ? "failed" : "succeeded"} ${span((now - Date.parse(last.at)) / 1000)} ago` : "none yet";
    const listen = new Map();
    for (const { transport, address } of server.listen ?? []) listen.set(address, [...(listen.get(address) ?? []), transport]);
    const facts = [
        ["version", server.version],
        ["up for", longSpan(server.uptime)],
        ["process", String(server.pid)],
        ["last reload", reload],
        ["answers on", [...listen].map(([address, transports]) => `${address} (${transports.join(", ")})`).join(", ")],
    ].filter(([, value]) => value);
    if (server.version !== meta("version")) facts.push(["this page", `is of version ${meta("version")}: load it again`]);
    reconcile(by("facts"), facts, ([name]) => name, ([name]) => {
        const value = element("dd");
        return { root: element("div", {}, element("dt", { textContent: name }), value), value };
    }, (row, [, value]) => setText(row.value, value));
}

function onConnection(connection) {
    const { state, at, reason } = connection;
    const names = { waiting: "waiting", live: "live", polling: "live, polled", lost: "connection lost" };
    setAttribute(by("connection"), "data-connection", state);
    setText(by("connection-text"), at === null ? names[state] : `${names[state]} · ${clock(at)}`);
    setAttribute(document.body, "data-connection", state);
    const lost = by("lost");
    if (state === "lost") showLost(lost, at, reason);
    else if (lost.childElementCount > 0) lost.replaceChildren();
    page.connection = connection;
    showTitle();
}

// An alert is told by screen readers whenever its text changes, so the age that counts up is left out of it.
function showLost(lost, at, reason) {
    if (lost.childElementCount === 0) {
        lost.append(element("strong"), " ", element("span", { className: "text" }), " ", element("span", { className: "age", "aria-hidden": "true" }));
    }
    const [title, text, age] = lost.children;
    setText(title, "Connection lost.");
    setText(text, at === null ? `No data has come yet: ${reason}.` : `Nothing below is current: it is of ${clock(at)}; ${reason}.`);
    setText(age, at === null ? "" : `${longSpan((Date.now() - at) / 1000)} old.`);
}

function showTitle() {
    const name = page.status?.server.identity || "alternator-dns";
    const lost = page.connection.state === "lost";
    const says = page.status && page.worst ? `${summary(page.status)} ` : "";
    document.title = lost ? `Connection lost – ${name}` : `${says}${name}`;
}

function tellDemo(text) {
    setText(by("announcer"), text);
    let failed = by("demo").querySelector(".failed");
    if (!failed) by("demo").append((failed = element("p", { className: "failed" })));
    setText(failed, text);
}

function listen() {
    by("find").addEventListener("input", draw);
    by("filter").addEventListener("change", draw);
    by("filter").addEventListener("submit", (event) => event.preventDefault());
    document.addEventListener("keydown", (event) => {
        const typing = event.target.closest?.("input, textarea, select");
        if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
            event.preventDefault();
            by("find").focus();
        }
    });
}

listen();
feed.start();
