// Elements made and kept up to date without ever parsing text: names of racks are free text of others.

// An address beside the page's, which may have been opened with a password in its own; fetch refuses those.
export const beside = (path) => new URL(path, location.origin + location.pathname).href;

const SVG = "http://www.w3.org/2000/svg";

// An element with properties, attributes (`aria-*`, `data-*`, `role`, `for`) and children.
export function element(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
        if (/^(aria-|data-|role$|for$)/.test(name)) made.setAttribute(name, value);
        else made[name] = value;
    }
    made.append(...children);
    return made;
}

export function drawing(tag, attributes = {}, ...children) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
}

// Text that only a screen reader tells.
export const unseen = (text) => element("span", { className: "unseen", textContent: text });

// The setters below leave alone what is right already: most of a page does not change from one second to the next,
// and what is not touched costs no layout, keeps selections, and is not told again by screen readers.
export function setText(node, text) {
    if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(node, name, value) {
    if (value === null || value === undefined) node.removeAttribute(name);
    else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

export function setHidden(node, hidden) {
    if (node.hidden !== hidden) node.hidden = hidden;
}

export function setStyle(node, name, value) {
    if (node.style.getPropertyValue(name) !== value) node.style.setProperty(name, value);
}

// The rows of each parent, by their keys.
const drawn = new WeakMap();

// Makes the children of `parent` those of `items`: what has the same key stays the same element, so that focus and
// selection survive. `make(item)` returns an object with `root`; `update(row, item)` fills it.
export function reconcile(parent, items, key, make, update) {
    const before = drawn.get(parent) ?? new Map();
    const rows = new Map();
    for (const item of items) {
        const id = key(item);
        // What a server sends twice is shown once.
        if (rows.has(id)) continue;
        const row = before.get(id) ?? make(item);
        before.delete(id);
        rows.set(id, row);
        update(row, item);
    }
    for (const row of before.values()) row.root.remove();
    const focused = document.activeElement;
    let at = parent.firstElementChild;
    for (const row of rows.values()) {
        if (row.root === at) at = at.nextElementSibling;
        else parent.insertBefore(row.root, at);
    }
    // A moved element loses the focus.
    if (focused !== document.activeElement && parent.contains(focused)) focused.focus({ preventScroll: true });
    drawn.set(parent, rows);
}
