// Where the data comes from. The whole status is asked for when something changed; server-sent events tell that it did,
// and every second what moves meanwhile (a "pulse"). Without events the whole status is asked for every two seconds.
// An old picture must never look live: the feed always knows when the picture was right for the last time, and says
// "lost" as soon as that is too long ago or the server is known to be gone.

import { beside } from "./dom.js";

// Between polls while no events arrive.
const POLL_EVERY = 2000;

// Pulses come every second; a stream that is silent for so long is not trusted, though it may be open still.
const STREAM_SILENT = 4000;

// A picture that was right for the last time so long ago is lost, whatever the reason.
const LOST_AFTER = 6000;

// A request that hangs is given up then.
const REQUEST_WITHIN = 4000;

// Between two requests for the whole status, when pulse after pulse tells of changes.
const WHOLE_EVERY = 500;

// The whole status is asked for so often though nothing seems to have changed.
const WHOLE_AT_LEAST = 15_000;

// A stream that the server refused (rather than one that broke, which the browser opens again) is tried again then.
const REOPEN_AFTER = 10_000;

export class Feed {
    // `onStatus(status)`, `onChanges([change])`, `onConnection({state, reason, at})` with state "live", "polling",
    // "lost" or "waiting", `at` when the picture was right for the last time.
    constructor({ onStatus, onChanges, onConnection }) {
        Object.assign(this, { onStatus, onChanges, onConnection });
        this.status = null;
        // Whether the status in hand is known to be that of the server.
        this.current = false;
        this.at = null;
        this.reason = null;
        this.failed = false;
        this.asking = null;
        this.askedAt = 0;
        this.wholeAt = 0;
        this.streamAt = 0;
        this.openedAt = 0;
    }

    start() {
        this.open();
        this.ask();
        setInterval(() => this.look(), 500);
        // A page that was asleep must not show its old picture for a moment.
        document.addEventListener("visibilitychange", () => this.look());
        window.addEventListener("pageshow", () => this.look());
        window.addEventListener("online", () => this.ask());
    }

    open() {
        this.stream?.close();
        this.openedAt = Date.now();
        this.stream = new EventSource(beside("events"));
        // It may be another process that answers now.
        this.stream.addEventListener("open", () => this.doubt());
        this.stream.addEventListener("error", () => this.doubt());
        this.stream.addEventListener("status", (event) => this.receive(event.data, (pulse) => this.beat(pulse)));
        this.stream.addEventListener("change", (event) => this.receive(event.data, (change) => this.onChanges([change])));
    }

    receive(text, take) {
        try {
            take(JSON.parse(text));
        } catch (error) {
            // What was not drawn is not shown: the picture gets old, and that is told.
            console.warn("what the server sent cannot be shown", error);
            this.current = false;
            this.reason = `what it sends cannot be shown (${error.message})`;
        }
    }

    doubt() {
        this.current = false;
        this.ask();
    }

    beat(pulse) {
        this.streamAt = Date.now();
        if (!this.status) return;
        if (!fits(this.status, pulse) || Date.now() - this.wholeAt > WHOLE_AT_LEAST) this.doubt();
        merge(this.status, pulse);
        if (this.current) this.show();
    }

    show() {
        this.onStatus(this.status);
        this.at = Date.now();
        this.failed = false;
        this.reason = null;
        this.tell();
    }

    // Looks at the clock, and does what is due.
    look() {
        const now = Date.now();
        const silent = now - Math.max(this.streamAt, this.openedAt) > STREAM_SILENT;
        if (silent ? now - this.askedAt >= POLL_EVERY : !this.current) this.ask();
        const closed = this.stream.readyState === EventSource.CLOSED;
        if ((closed || silent) && now - this.openedAt > REOPEN_AFTER) this.open();
        this.tell();
    }

    // Asks for the whole status, one request at a time.
    async ask() {
        const now = Date.now();
        if (this.asking || now - this.askedAt < (this.failed ? POLL_EVERY : WHOLE_EVERY)) return;
        this.askedAt = now;
        this.asking = this.get("status.json");
        try {
            const text = await this.asking;
            this.receive(text, (status) => {
                this.status = status;
                this.wholeAt = now;
                this.show();
                this.current = true;
            });
        } catch (error) {
            const unreachable = error.name === "TypeError" || error.name === "TimeoutError";
            this.failed = true;
            this.reason = unreachable ? "the server cannot be reached" : error.message;
        } finally {
            this.asking = null;
        }
        this.tell();
    }

    // Changes after the one with that number.
    async changesSince(number) {
        try {
            const text = await this.get(`events.json?since=${number}`);
            this.receive(text, (got) => this.onChanges(got.changes));
        } catch (error) {
            console.warn("the changes cannot be read", error);
        }
    }

    async get(path) {
        const response = await fetch(beside(path), { cache: "no-store", signal: AbortSignal.timeout(REQUEST_WITHIN) });
        if (!response.ok) throw new Error(`the server answers with status ${response.status}`);
        return response.text();
    }

    tell() {
        const now = Date.now();
        const old = this.at !== null && now - this.at > LOST_AFTER;
        let state = "waiting";
        if (this.failed || old || (this.at === null && this.reason)) state = "lost";
        else if (this.at !== null) state = now - this.streamAt < LOST_AFTER ? "live" : "polling";
        this.onConnection({ state, at: this.at, reason: this.reason ?? (old ? "the server is silent" : null) });
    }
}

// Whether the status in hand is the one that the pulse is of, in all that a pulse does not tell.
function fits(status, pulse) {
    const known = new Map(status.zones.map((zone) => [zone.name, zone.epoch]));
    const same = pulse.zones.every((zone) => known.get(zone.name) === zone.epoch);
    return same && known.size === pulse.zones.length && status.events.latest === pulse.events.latest;
}

// Takes over what moves.
function merge(status, pulse) {
    status.queries = pulse.queries;
    status.server.uptime = (Date.parse(pulse.at) - Date.parse(status.server.started)) / 1000;
    const pulses = new Map(pulse.zones.map((zone) => [zone.name, zone]));
    for (const zone of status.zones) {
        const moved = pulses.get(zone.name);
        if (!moved) continue;
        for (const node of zone.nodes) {
            node.led = moved.led[node.address] ?? node.led;
            node.probe_seconds = moved.probe_seconds[node.address] ?? node.probe_seconds;
        }
    }
}
