// The journal: what changed last, and why.

import { element, reconcile, setAttribute, setHidden, setText } from "./dom.js";
import { clock, moment, timezone } from "./words.js";

// Changes kept: as many as the server keeps.
const KEPT = 1000;

// Changes shown at first, and by how many more at a time.
const SHOWN = 20;
const MORE = 100;

// A screen reader is told at most so often, and of so many; a storm of changes must not keep it talking.
const TELL_EVERY = 5000;
const TOLD = 3;

export class Changes {
    constructor() {
        this.all = [];
        this.shown = SHOWN;
        this.untold = [];
        this.begun = false;
        this.older = document.getElementById("older");
        this.older.addEventListener("click", () => {
            this.shown += MORE;
            this.show();
        });
        setText(document.getElementById("changes-note"), timezone());
        setInterval(() => this.announce(), TELL_EVERY);
    }

    // The number of the latest change known, 0 without one.
    get latest() {
        return this.all[0]?.number ?? 0;
    }

    // The server was started anew and counts from the beginning.
    forget() {
        this.all = [];
        this.begun = false;
    }

    // Takes in changes in any order; those known already are left out.
    add(changes) {
        const known = new Set(this.all.map((change) => change.number));
        const fresh = changes.filter((change) => Number.isFinite(change?.number) && !known.has(change.number));
        // What was there before the page was opened is no news.
        if (this.begun) this.untold.push(...fresh);
        this.begun = true;
        this.all = [...this.all, ...fresh].sort((a, b) => b.number - a.number).slice(0, KEPT);
        this.show();
    }

    // Shows only changes that say all of these words; `zones`, whether there are several to name.
    filter(words, zones) {
        this.words = words;
        this.severalZones = zones > 1;
        this.show();
    }

    show() {
        const words = this.words ?? [];
        const found = this.all.filter((change) => {
            const text = `${change.subject} ${change.text} ${change.kind} ${change.zone ?? ""}`.toLowerCase();
            return words.every((word) => text.includes(word));
        });
        reconcile(document.getElementById("log"), found.slice(0, this.shown), (change) => change.number, make, (row, change) => {
            setText(row.time, moment(Date.parse(change.at), Date.now()));
            setText(row.zone, this.severalZones && change.zone ? change.zone : "");
        });
        setHidden(this.older, found.length <= this.shown);
        const log = document.getElementById("changes");
        setAttribute(log, "data-empty", found.length === 0 ? (this.all.length ? "No change says this." : "Nothing changed yet.") : null);
    }

    announce() {
        const untold = this.untold;
        this.untold = [];
        if (untold.length === 0) return;
        const texts = untold.slice(-TOLD).map((change) => `${change.subject} ${change.text}`);
        if (untold.length > TOLD) texts.unshift(`${untold.length} changes, the last`);
        setText(document.getElementById("announcer"), texts.join(". "));
    }
}

function make(change) {
    const time = element("time", { dateTime: change.at, title: change.at, textContent: clock(Date.parse(change.at)) });
    const zone = element("span", { className: "zone" });
    const root = element("li", { "data-kind": change.kind }, time,
        element("span", { className: "kind", textContent: change.kind }),
        element("span", { className: "what" }, zone, element("b", { textContent: change.subject }), ` ${change.text}`));
    return { root, time, zone };
}
