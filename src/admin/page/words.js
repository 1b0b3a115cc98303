// How values are said.

// What a verdict is called, and how much it matters: good, note (somebody wanted it so), warn, bad.
export const VERDICTS = {
    up: { label: "up", tone: "good" },
    listed: { label: "listed", tone: "good" },
    joining: { label: "joining", tone: "note" },
    remembered: { label: "remembered", tone: "note" },
    drained: { label: "drained", tone: "note" },
    leaving: { label: "leaving", tone: "note" },
    forced: { label: "forced up", tone: "note" },
    distrusted: { label: "silent", tone: "warn" },
    down: { label: "down", tone: "bad" },
    left: { label: "left", tone: "bad" },
};

export const verdict = (node) => VERDICTS[node.verdict] ?? { label: String(node.verdict), tone: "warn" };

// Why, without the word that stands beside it already.
export function reason(node) {
    const text = String(node.reason ?? "");
    const word = String(node.verdict);
    if (text === word || (node.verdict === "up" && text === "")) return "";
    return /^[:,] /.test(text.slice(word.length)) && text.startsWith(word) ? text.slice(word.length + 2) : text;
}

// A length of time in one unit, as exact as anybody reads it.
export function span(seconds) {
    const whole = Math.max(0, Math.floor(seconds));
    if (whole < 60) return `${whole} s`;
    if (whole < 3600) return `${Math.floor(whole / 60)} min`;
    if (whole < 2 * 86400) return `${Math.floor(whole / 3600)} h`;
    return `${Math.floor(whole / 86400)} d`;
}

// In two units: for the few places where there is room.
export function longSpan(seconds) {
    const whole = Math.max(0, Math.floor(seconds));
    if (whole < 3600) return span(whole);
    if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
    return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

// How long a probe or a poll took.
export function latency(seconds) {
    const ms = seconds * 1000;
    if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
    return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

export function rate(perSecond) {
    if (perSecond === 0) return "0";
    if (perSecond < 10) return perSecond.toFixed(1);
    return Math.round(perSecond).toLocaleString("en");
}

export const percent = (share) => (share === 0 ? "0 %" : `${(share * 100).toFixed(1)} %`);

export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

// "a, b and 3 more"
export function some(texts, most = 3) {
    if (texts.length <= most) return texts.join(", ");
    return `${texts.slice(0, most).join(", ")} and ${texts.length - most} more`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

export const clock = (time) => CLOCK.format(time);

// The time of day; of another day, the day too.
export function moment(time, now) {
    const sameDay = new Date(time).toDateString() === new Date(now).toDateString();
    return sameDay ? clock(time) : `${DAY.format(time)} ${clock(time)}`;
}

// "UTC+02:00": whoever compares with logs has to know.
export function timezone() {
    const minutes = -new Date().getTimezoneOffset();
    const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
    const two = (number) => String(number).padStart(2, "0");
    return minutes === 0 ? "UTC" : `UTC${minutes < 0 ? "−" : "+"}${two(hours)}:${two(rest)}`;
}

const ORDER = new Intl.Collator("en", { numeric: true });

// rack2 before rack10, 10.0.0.9 before 10.0.0.10.
export const inOrder = (a, b) => ORDER.compare(a, b);

// What an override does, as a sentence without its target.
export function overrideText(override, now) {
    const until = override.until ? `for ${longSpan((Date.parse(override.until) - now) / 1000)} more` : "until ended by hand";
    const from = Date.parse(override.from);
    const begins = from > now ? `begins in ${longSpan((from - now) / 1000)}, ` : "";
    const by = override.by ? ` by ${override.by}` : "";
    const why = override.reason ? `: ${override.reason}` : "";
    const zone = override.zone ? ` in ${override.zone}` : "";
    const where = override.origin === "file" ? " (file)" : "";
    return `${override.action === "drain" ? "drained" : "forced up"}${zone}${by}${where}, ${begins}${until}${why}`;
}
