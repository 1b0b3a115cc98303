// What the counters did: rates from their differences between samples, which only this page keeps.

// Seconds between samples at least: counters read sooner tell noise.
const SAMPLE_EVERY = 0.9;

// Seconds of the charts.
export const CHART_WINDOW = 300;

// Seconds over which leads are shared out.
export const LEADS_WINDOW = 60;

// Samples farther apart than this were interrupted: no line is drawn between them.
const GAP = 6;

export class History {
    constructor() {
        this.process = null;
        this.rates = [];
        this.samples = [];
    }

    // Takes in one status. Its time is the server's uptime, so the network cannot bend a rate.
    add(status) {
        const process = `${status.server.pid} ${status.server.started}`;
        const at = status.server.uptime;
        const last = this.samples.at(-1);
        // Another process counts from zero.
        if (process !== this.process || (last && at < last.at)) {
            Object.assign(this, { process, rates: [], samples: [] });
        } else if (last && at - last.at < SAMPLE_EVERY) {
            return;
        }
        const sample = { at, outcomes: status.queries.by_outcome, leads: leadsOf(status) };
        const before = this.samples.at(-1);
        if (before) this.rates.push(ratesBetween(before, sample));
        this.samples.push(sample);
        while (this.samples.length > 1 && this.samples[1].at <= at - LEADS_WINDOW) this.samples.shift();
        while (this.rates.length && this.rates[0].at < at - CHART_WINDOW) this.rates.shift();
    }

    get now() {
        return this.samples.at(-1)?.at ?? 0;
    }

    // Queries per second by outcome, and altogether, between the last two samples.
    current() {
        return this.rates.at(-1) ?? { outcomes: {}, total: 0 };
    }

    // [{at, value} or null where nothing is known] of one outcome, oldest first.
    line(outcome) {
        const points = [];
        for (const rates of this.rates) {
            if (rates.interrupted && points.length) points.push(null);
            points.push({ at: rates.at, value: rates.outcomes[outcome] ?? 0 });
        }
        return points;
    }

    // Answers each node of a zone led within the window: {seconds, total, of: Map(address, number)}.
    leads(zone) {
        const first = this.samples[0];
        const last = this.samples.at(-1);
        if (!first || first === last) return { seconds: 0, total: 0, of: new Map() };
        const of = new Map();
        let total = 0;
        for (const [address, led] of last.leads.get(zone) ?? []) {
            const before = first.leads.get(zone)?.get(address) ?? 0;
            const number = led >= before ? led - before : led;
            of.set(address, number);
            total += number;
        }
        return { seconds: last.at - first.at, total, of };
    }
}

function leadsOf(status) {
    const leads = new Map();
    for (const zone of status.zones) leads.set(zone.name, new Map(zone.nodes.map((node) => [node.address, node.led ?? 0])));
    return leads;
}

function ratesBetween(before, after) {
    const seconds = after.at - before.at;
    const outcomes = {};
    let total = 0;
    for (const [outcome, number] of Object.entries(after.outcomes)) {
        outcomes[outcome] = Math.max(0, number - (before.outcomes[outcome] ?? 0)) / seconds;
        total += outcomes[outcome];
    }
    return { at: after.at, outcomes, total, interrupted: seconds > GAP };
}
