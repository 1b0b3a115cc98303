#!/usr/bin/env python3
"""Uses the status page as a person does, in Chromium, and says what is not as it should be.

check.py DRIVER-PORT PAGE-URL DNS-PORT SERVER-PID TOKEN-URL SHOTS PROFILE: a demo serves the page; it is killed at the
end. TOKEN-URL is the page of a server that wants a token, with it.
Pictures of every scene are put into the folder SHOTS.
"""

import os
import pathlib
import signal
import subprocess
import sys
import time

import scenes
from webdriver import Browser, Failed

NODE = "127.0.1.112"
OTHER = "127.0.1.121"
# Stopped long enough for the cluster to forget it.
FORGOTTEN = "127.0.1.231"
# Enter, as WebDriver calls it.
ENTER = "\ue007"
WIDE, PHONE = (1920, 1080), (360, 740)
# What a page may never do, whatever the picture: be wider than the window.
OVERFLOW = "return document.documentElement.scrollWidth - innerWidth"
# Elements that stick out of the window, or out of the box of their rack.
CULPRITS = """const right = (e) => e.getBoundingClientRect().right;
    return [...document.querySelectorAll('body *')].filter((e) => e.checkVisibility() && !e.closest('.unseen, .skip')
        && right(e) > Math.min(innerWidth, right(e.closest('.rack') ?? document.body)) + 1)
    .slice(0, 3).map((e) => e.outerHTML.slice(0, 120))"""
DOWN = """const node = document.querySelector(`[data-address="${arguments[0]}"]`);
    return node?.dataset.verdict === "down" && node.querySelector(".why").textContent"""
UP = """return document.querySelector(`[data-address="${arguments[0]}"]`)?.dataset.verdict === "up" """


def ok(text):
    print(f"  ok: {text}", flush=True)


def must(condition, text):
    if not condition:
        raise Failed(text)
    ok(text)


def dig(port, name, rtype="A"):
    command = ["dig", "+short", "+time=2", "+tries=2", "-p", port, "@127.0.0.1", name, rtype]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def answered(port, node, wanted):
    """Waits until the rack's name is answered with the node, or without it."""
    deadline = time.monotonic() + 30
    while (node in dig(port, "dc1.rack1.alternator.local")) != wanted:
        if time.monotonic() > deadline:
            raise Failed(f"dig {'does not name' if wanted else 'still names'} {node}")
        time.sleep(0.1)


def quiet(browser, what):
    """Nothing was complained about since the last look, but what is expected."""
    said = [entry["message"] for entry in browser.log("browser")]
    must(not said, f"{what}: nothing on the console{'; but: ' + said[0] if said else ''}")


def stop_and_start(browser, dns_port):
    def button(word):
        return f'[data-address="{NODE}"] .hands button[aria-label="{word} {NODE}"]'

    browser.run("window.opened = true")
    browser.until("the node is up", UP, NODE)
    answered(dns_port, NODE, True)
    browser.click(button("Stop"))
    why = browser.until("the node is shown as down, with a reason", DOWN, NODE)
    must(why == "connection refused", f"stopped by its button, {NODE} is shown as down: {why}")
    answered(dns_port, NODE, False)
    ok(f"dig does not name {NODE}")
    browser.until("the change is listed", "return document.querySelector('#log').textContent.includes(arguments[0])", NODE)
    browser.until("the change is told to screen readers",
                  "return document.querySelector('#announcer').textContent.includes(arguments[0])", NODE)
    ok("the change is listed with its cause, and told to screen readers")
    must("down" in browser.text("#summary") and "1 down" in browser.run("return document.title"),
         "the sentence on top and the window's title say so")
    browser.click(button("Start"))
    browser.until("the node is up again", UP, NODE)
    answered(dns_port, NODE, True)
    ok(f"started by its button, {NODE} is up, and dig names it")
    must(browser.run("return window.opened === true"), "all of it without the page being loaded anew")


def drained(browser, page_url, dns_port):
    """What an operator orders in a terminal is seen here, with who and why, and taken back."""
    def order(*words):
        subprocess.run([os.environ["SERVER"], *words, "--server", page_url.rstrip("/")], check=True, capture_output=True)

    order("drain", NODE, "--for", "2h", "--reason", "new disks, ticket 4411")
    text = browser.until("the node is shown as drained", """const node = document.querySelector(`[data-address="${arguments[0]}"]`);
        return node.dataset.verdict === "drained" && node.querySelector(".override").textContent""", NODE)
    must("new disks" in text and "Drained by " in text, f"a node drained by command is shown so: {text}")
    must(NODE in browser.text("[data-banner=overrides]"), "and in the banner of overrides")
    answered(dns_port, NODE, False)
    browser.click("input[value=override]")
    browser.until("only what is overridden", "return document.querySelector('#found').textContent.startsWith('1 of ')")
    browser.click("input[value=all]")
    order("undrain", NODE)
    browser.until("the node is up again", UP, NODE)
    browser.until("the banner is gone", "return !document.querySelector('[data-banner=overrides]')")
    answered(dns_port, NODE, True)
    ok("and as up when that is taken back; dig agrees")


def keyboard(browser):
    """What the buttons do, without a mouse."""
    browser.run("document.querySelector(`[data-address='${arguments[0]}'] .hands button`).focus()", OTHER)
    press(browser, ENTER)
    browser.until("the node is down", DOWN, OTHER)
    focused = browser.run("return document.activeElement.getAttribute('aria-label')")
    must(focused == f"Start {OTHER}", "Enter stops a node, and the focus stays on its button")
    press(browser, ENTER)
    browser.until("the node is up again", UP, OTHER)
    browser.run("document.activeElement.blur()")
    press(browser, "/")
    must(browser.run("return document.activeElement.id") == "find", "/ leads to the search")


def press(browser, key):
    actions = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
    browser.post("/actions", actions=[{"type": "key", "id": "keyboard", "actions": actions}])


def search(browser):
    browser.type("#find", "dc1/rack1")
    browser.until("the search finds", "return document.querySelector('#found').textContent.startsWith('3 of ')")
    shown = "return [...document.querySelectorAll('.rack')].filter((e) => e.checkVisibility()).length"
    must(browser.run(shown) == 1, "a search shows what it finds, and nothing else")
    browser.run("const find = document.querySelector('#find'); find.value = ''; find.dispatchEvent(new Event('input'))")
    must(browser.run(shown) == 6, "without it, all racks are back")


def fallback(browser, dns_port):
    browser.click('[data-datacenter="dc1"] [data-rack="rack2"] .head .hands button')
    browser.until("the rack is answered from its datacenter",
                  "return document.querySelector('[data-datacenter=dc1] [data-rack=rack2] .fallback').textContent.includes('from dc1')")
    browser.until("the name's line says so",
                  "return document.querySelector('[data-scope=\"dc1/rack2\"]').textContent.includes('fallback 1 of 1')")
    ok("a rack stopped by one button: its name is shown as answered from its datacenter")
    addresses = dig(dns_port, "dc1.rack2.alternator.local")
    must(addresses and not any(address.startswith("127.0.1.12") for address in addresses), "dig says the same")
    browser.click('[data-datacenter="dc1"] [data-rack="rack2"] .head .hands button')
    browser.until("the rack is back", UP, OTHER)


def forgotten(browser, page_url):
    """A simulated node that the cluster no longer lists stands nowhere, and can be started nevertheless."""
    browser.view(1280, 800)
    browser.open(page_url)
    gone = "return [...document.querySelectorAll('#demo .gone button')].find((e) => e.textContent.endsWith(arguments[0]))"
    button = browser.until("there is a button for a node that is not known any more", gone, FORGOTTEN, within=60)
    browser.run("arguments[0].click()", button)
    browser.until("it is back", UP, FORGOTTEN, within=30)
    ok("a node that the cluster forgot can be started")


def traffic(browser):
    browser.click("#ask")
    rate = "return Number.parseFloat(document.querySelector('[data-outcome=answered] .value').textContent)"
    browser.until("the chart shows queries", rate + " > 20")
    share = "return document.querySelector(`[data-address='${arguments[0]}'] .leads`).title.includes('even within its rack')"
    browser.until("leads are shared out", share, NODE)
    ok("queries asked by the demo are seen in the charts, and as the nodes' shares")


def accessible(browser):
    """As a screen reader has it: computed by the browser, not read from the source."""
    wanted = [("header", "banner", None), ("main", "main", None), ("#filter", "search", "Nodes and changes"),
              ("#traffic", "region", "Queries per second"), ("#changes", "region", "Last changes"),
              ("h1", "heading", None), (".zone", "region", "Zone alternator.local"), (".zone h2", "heading", "alternator.local"),
              ("[data-datacenter=dc1]", "region", "Datacenter dc1"), ("[data-datacenter=dc1] h3", "heading", None),
              ("[data-rack=rack1]", "region", "Rack rack1"), (".nodes", "list", "Nodes of rack1"), (".node", "listitem", None),
              ("#find", "searchbox", "Find a node, rack, datacenter, or reason"), ("#summary", "status", None),
              (f'[data-address="{NODE}"] .hands button', "button", f"Stop {NODE}"), (".names table", "table", "Which name is answered from where"),
              ("#charts svg", "image", None), ("#log", "list", None)]
    for css, role, name in wanted:
        element = browser.find(css)
        got = browser.role(element), browser.name(element)
        if got[0] != role or (name is not None and got[1] != name):
            raise Failed(f"{css} is {got[0]} {got[1]!r} to a screen reader, not {role} {name!r}")
    ok(f"{len(wanted)} landmarks, headings, lists and controls have their roles and names")
    chart = browser.name(browser.find("#charts svg"))
    must("per second now" in chart, "a chart is told in words")
    for element in browser.find_all("button, input, a"):
        if browser.run("return arguments[0].checkVisibility()", {"element-6066-11e4-a52e-4f735466cecf": element}):
            if not browser.name(element):
                raise Failed("a control without a name")
    ok("every control has a name")
    levels = browser.run("return [...document.querySelectorAll('h1,h2,h3,h4')].map((e) => Number(e.tagName[1]))")
    jumps = [(a, b) for a, b in zip(levels, levels[1:]) if b > a + 1]
    must(levels[0] == 1 and not jumps, "headings leave out no level")
    contrast(browser)


def contrast(browser):
    """Text against its ground, in both schemes (WCAG 1.4.3: 4.5 to 1)."""
    for scheme in ("light", "dark"):
        browser.view(*WIDE, scheme)
        pairs = browser.run(CONTRAST)
        worst = min(pairs, key=lambda pair: pair[0])
        must(worst[0] >= 4.5, f"{scheme}: the least contrast of a text is {worst[0]:.1f} ({worst[1]})")


CONTRAST = """
const channel = (value) => { value /= 255; return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4; };
const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
        const colour = numbers(getComputedStyle(at).backgroundColor);
        if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
};
const texts = [...document.querySelectorAll("body *")].filter((element) => element.checkVisibility() && !element.closest(".unseen, .skip")
    && [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
return texts.map((element) => {
    const [a, b] = [light(numbers(getComputedStyle(element).color)), light(ground(element))];
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.textContent.trim().slice(0, 40)];
});
"""


def picture(browser, shots, name, size, scheme="light", whole=True):
    browser.view(*size, scheme)
    time.sleep(0.8)
    wide = browser.run(OVERFLOW)
    out = browser.run(CULPRITS)
    must(wide <= 0 and not out, f"{name}: fits {size[0]} pixels{f'; but {wide} too wide: {out}' if out or wide > 0 else ''}")
    browser.screenshot(shots / f"{name}-{size[0]}-{scheme}.png", whole)


def stage_scenes(browser, page_url, shots):
    """What a demo cannot show: the page is the server's, the data is made up."""
    for name, scene in scenes.scenes().items():
        stage = scenes.Stage(scene, page_url)
        browser.log("browser"), browser.requests()
        browser.view(*WIDE)
        browser.open(stage.url)
        browser.until(f"{name} is drawn", "return document.querySelector('.zone') && document.body.dataset.connection === 'live'")
        browser.until(f"{name}: changes", "return document.querySelectorAll('#log li').length > 0")
        EXPECTED.get(name, lambda _: None)(browser)
        picture(browser, shots, name, WIDE)
        picture(browser, shots, name, (1280, 800), "dark")
        picture(browser, shots, name, (820, 1180))
        picture(browser, shots, name, PHONE, "dark" if name == "rack-down" else "light")
        contrast_ok = min(browser.run(CONTRAST), key=lambda pair: pair[0])
        must(contrast_ok[0] >= 4.5, f"{name}: the least contrast of a text is {contrast_ok[0]:.1f} ({contrast_ok[1]})")
        only_from(browser, stage.url)
        quiet(browser, name)
        stage.shutdown()
        stage.server_close()


def everything_scene(browser):
    must(browser.text('.rack[data-rack^="<img"] h4') == scenes.MARKUP, "a rack named like markup is shown as text")
    must(browser.run("return window.injected === undefined && !document.querySelector('main img')"), "and nothing became markup")
    for banner in ("reload", "panic", "remembered", "overrides"):
        must(browser.text(f"[data-banner={banner}]"), f"banner: {banner}")
    must("mara" in browser.text("[data-banner=overrides]") and "ticket 4411" in browser.text("[data-banner=overrides]"),
         "overrides are shown with who and why")


def large_scene(browser):
    nodes = browser.run("return document.querySelectorAll('.node').length")
    must(nodes == 3, f"of 1,008 nodes the {nodes} that are down are shown, the others counted")
    took = browser.run("const began = performance.now(); document.querySelector('#find').dispatchEvent(new Event('input'));"
                       "return performance.now() - began")
    ok(f"drawn anew in {took:.1f} ms")
    browser.click('[data-datacenter=dc1] [data-rack=rack3] .more')
    first = browser.run("const nodes = [...document.querySelectorAll('[data-datacenter=dc1] [data-rack=rack3] .node')];"
                        "return [nodes.length, nodes[0].dataset.address]")
    must(first == [42, "10.1.3.7"], "a rack that is opened shows all of its nodes, the bad one on top")
    browser.click('[data-datacenter=dc1] [data-rack=rack3] .more')
    browser.click("input[value=out]")
    browser.until("only what is out of rotation", "return document.querySelector('#found').textContent === '3 of 1,008 nodes'")
    browser.click("input[value=all]")


EXPECTED = {
    "everything": everything_scene,
    "large": large_scene,
    "all-down": lambda browser: must(browser.text("[data-banner=stale]") and browser.text("[data-banner=lastknown]"),
                                     "banners: stale, last known good"),
    "unready": lambda browser: must(browser.text("[data-banner=unready]"), "banner: not ready"),
}


def only_from(browser, url):
    asked = browser.requests()
    elsewhere = [one for one in asked if not one.startswith((url, "data:"))]
    must(asked and not elsewhere, f"{len(asked)} requests, none to anywhere else{': but ' + elsewhere[0] if elsewhere else ''}")


def silent_stream(browser, page_url, shots):
    """A server that neither answers nor goes away is as lost as one that is gone."""
    stage = scenes.Stage(scenes.scenes()["healthy"], page_url)
    browser.view(*WIDE)
    browser.open(stage.url)
    browser.until("it is live", "return document.body.dataset.connection === 'live'")
    stage.silent.set()
    browser.until("a silent server is lost", "return document.body.dataset.connection === 'lost'")
    ok("a server that goes silent is told as lost")
    picture(browser, shots, "silent", WIDE)
    stage.silent.clear()
    browser.until("it is live again", "return document.body.dataset.connection === 'live' && !document.querySelector('#lost').textContent", within=30)
    ok("and as live when it is back")
    stage.only_polls.set()
    browser.until("it goes on by polling", "return document.body.dataset.connection === 'polling'", within=30)
    at = browser.text("#connection-text")
    browser.until("polling brings new data", "return document.querySelector('#connection-text').textContent !== arguments[0]", at)
    ok("without events it goes on by polling, and says so")
    stage.shutdown()
    stage.server_close()
    browser.log("browser")


def with_token(browser, url):
    """A browser's dialogue asks for it as a password; here it is in the address."""
    browser.open(url)
    browser.until("the page of a server with a token is live", "return document.body.dataset.connection === 'live'")
    must(browser.run("return document.querySelector('#demo').hidden"), "with its token, a server's page is live; it has no buttons")
    quiet(browser, "with a token")


def lost(browser, page_url, pid, shots):
    browser.view(1280, 800)
    browser.open(page_url)
    browser.until("it is live", "return document.body.dataset.connection === 'live'")
    os.kill(pid, signal.SIGKILL)
    text = browser.until("the banner", "return document.querySelector('#lost').checkVisibility() && document.querySelector('#lost').textContent")
    must("Connection lost" in text and "cannot be reached" in text, f"killed, the server is told as lost: {text}")
    must(browser.role(browser.find("#lost")) == "alert", "as an alert")
    must(browser.run("return /\\d\\d:\\d\\d:\\d\\d/.test(document.querySelector('#lost .text').textContent)"), "with the time of the last data")
    must(browser.run("return document.title").startswith("Connection lost"), "in the window's title, too")
    must(browser.run("return Number(getComputedStyle(document.querySelector('main')).opacity)") < 1, "what is old does not look live")
    picture(browser, shots, "lost", (1280, 800))
    picture(browser, shots, "lost", PHONE, "dark")


def main():
    driver_port, page_url, dns_port, pid, token_url, shots, profile = sys.argv[1:]
    shots = pathlib.Path(shots)
    with Browser(int(driver_port), profile) as browser:
        # What the browser shows and asks for before that is its own.
        browser.open("about:blank")
        browser.log("browser"), browser.requests()
        browser.view(1280, 800)
        browser.open(page_url)
        browser.until("it is live", "return document.body.dataset.connection === 'live'")
        traffic(browser)
        stop_and_start(browser, dns_port)
        drained(browser, page_url, dns_port)
        keyboard(browser)
        search(browser)
        fallback(browser, dns_port)
        accessible(browser)
        picture(browser, shots, "demo", (1280, 800))
        picture(browser, shots, "demo", PHONE, "dark")
        quiet(browser, "the demo")
        only_from(browser, page_url)
        browser.click(f'[data-address="{FORGOTTEN}"] .hands button')
        browser.until("the node is down", DOWN, FORGOTTEN)
        stage_scenes(browser, page_url, shots)
        forgotten(browser, page_url)
        with_token(browser, token_url)
        silent_stream(browser, page_url, shots)
        lost(browser, page_url, int(pid), shots)


try:
    main()
except Failed as failed:
    sys.exit(f"page: FAILED: {failed}")
