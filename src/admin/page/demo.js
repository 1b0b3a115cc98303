// The demo's buttons: stop and start simulated nodes, and traffic to look at.

import { beside, element, reconcile, setAttribute, setHidden, setText } from "./dom.js";

export class Demo {
    // `tell(text)` says what failed.
    constructor(tell) {
        this.tell = tell;
        this.running = new Map();
        this.busy = new Set();
        this.perSecond = 0;
        this.traffic = element("button", { type: "button", id: "ask" });
        this.traffic.addEventListener("click", () => this.post("demo/traffic", { per_second: this.perSecond > 0 ? 0 : 50 }));
        const panel = document.getElementById("demo");
        panel.append(element("p", {}, element("b", { textContent: "Demo." }),
            " The nodes are simulated: stop some, and watch the answers follow. ", this.traffic));
        // The cluster forgets a node that is stopped for long, but it can be started all the same.
        this.gone = element("p", { className: "gone", textContent: "Stopped, and no longer known to the cluster: " });
        this.list = element("span");
        this.gone.append(this.list);
        panel.append(this.gone);
        setHidden(panel, false);
    }

    // Which nodes run: the server knows, for others stop and start them too.
    async look() {
        try {
            const response = await fetch(beside("demo/nodes"), { cache: "no-store" });
            if (response.ok) this.know(await response.json());
        } catch {
            // The feed tells when the server is lost.
        }
    }

    // Buttons for the nodes that stand nowhere else on the page.
    show(status) {
        const known = new Set(status.zones.flatMap((zone) => zone.nodes.map((node) => node.address)));
        const gone = [...this.running].filter(([address, run]) => !run && !known.has(address)).map(([address]) => address);
        setHidden(this.gone, gone.length === 0);
        reconcile(this.list, gone, (address) => address, (address) => {
            const button = element("button", { type: "button", textContent: `start ${address}` });
            button.addEventListener("click", () => this.switch([address], true));
            return { root: button };
        }, () => {});
    }

    know(state) {
        this.running = new Map(state.nodes.map((node) => [node.address, node.run]));
        this.perSecond = state.per_second;
        setText(this.traffic, this.perSecond > 0 ? `Stop asking (${this.perSecond} queries a second)` : "Ask 50 queries a second");
    }

    async post(path, body) {
        const response = await fetch(beside(path), {
            method: "POST",
            headers: { "Content-Type": "application/json" },
            body: JSON.stringify(body),
        }).catch((error) => ({ ok: false, text: async () => JSON.stringify({ error: error.message }) }));
        if (response.ok) {
            this.know(await response.json());
            this.tell("");
        } else {
            const text = await response.text();
            let said = text;
            try {
                said = JSON.parse(text).error;
            } catch {
                // Not ours, then; shown as it is.
            }
            this.tell(`The demo could not do this: ${said}`);
        }
    }

    async switch(addresses, run) {
        for (const address of addresses) this.busy.add(address);
        for (const address of addresses) {
            await this.post("demo/nodes", { address, run });
            this.busy.delete(address);
        }
        this.redraw?.();
    }

    nodeHands(place, node) {
        const known = this.running.has(node.address);
        const run = this.running.get(node.address);
        const button = this.button(place, () => this.switch([node.address], !this.running.get(node.address)));
        setHidden(button, !known);
        setText(button, run ? "stop" : "start");
        setAttribute(button, "aria-label", `${run ? "Stop" : "Start"} ${node.address}`);
        setAttribute(button, "aria-disabled", this.busy.has(node.address) ? "true" : null);
    }

    rackHands(place, rack, nodes) {
        place.nodes = nodes.map((node) => node.address).filter((address) => this.running.has(address));
        place.run = place.nodes.some((address) => this.running.get(address));
        const button = this.button(place, () => this.switch(place.nodes, !place.run));
        setHidden(button, place.nodes.length < 2);
        setText(button, place.run ? "stop all" : "start all");
        setAttribute(button, "aria-label", `${place.run ? "Stop" : "Start"} all nodes of ${rack}`);
    }

    button(place, act) {
        if (!place.button) {
            place.button = element("button", { type: "button" });
            place.button.addEventListener("click", () => place.act());
            place.append(place.button);
        }
        place.act = act;
        return place.button;
    }
}
