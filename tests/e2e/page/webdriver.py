"""As much of the WebDriver protocol as a test of one page needs, over plain HTTP."""

import base64
import http.client
import json
import time

# Nothing is fetched, updated, or reported: the only program it speaks to is the one under test.
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
         "--disable-default-apps", "--disable-extensions", "--lang=en", "--hide-scrollbars"]
# What WebDriver calls an element in JSON.
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Failed(Exception):
    """A command that the browser refused, or a state that did not come."""


class Browser:
    """One browser, with a profile of its own; a context: it ends with it."""

    def __init__(self, port, profile):
        self.port = port
        options = {"binary": "/usr/bin/chromium", "args": [*FLAGS, f"--user-data-dir={profile}"]}
        capabilities = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        made = self.command("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self.path = f"/session/{made['sessionId']}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.command("DELETE", self.path)

    def command(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"})
        value = json.loads(connection.getresponse().read())["value"]
        connection.close()
        if isinstance(value, dict) and "error" in value:
            raise Failed(f"{method} {path}: {value['error']}: {value['message'].splitlines()[0]}")
        return value

    def post(self, path, **body):
        return self.command("POST", self.path + path, body)

    def devtools(self, name, **params):
        return self.post("/goog/cdp/execute", cmd=name, params=params)

    def open(self, url):
        self.post("/url", url=url)

    def run(self, script, *args):
        return self.post("/execute/sync", script=script, args=list(args))

    def find(self, css):
        return self.post("/element", using="css selector", value=css)[ELEMENT]

    def find_all(self, css):
        return [found[ELEMENT] for found in self.post("/elements", using="css selector", value=css)]

    def click(self, css):
        self.post(f"/element/{self.find(css)}/click")

    def type(self, css, text):
        self.post(f"/element/{self.find(css)}/value", text=text)

    def text(self, css):
        """What is read aloud and seen alike: also what is hidden from one of them."""
        return self.run("return document.querySelector(arguments[0])?.textContent ?? null", css)

    def role(self, element):
        return self.command("GET", f"{self.path}/element/{element}/computedrole")

    def name(self, element):
        return self.command("GET", f"{self.path}/element/{element}/computedlabel")

    def view(self, width, height, scheme="light", motion="no-preference"):
        """The size in CSS pixels, exactly, and what the person prefers."""
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": motion}]
        self.devtools("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path, whole=False):
        picture = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(picture))

    def log(self, kind):
        return self.post("/se/log", type=kind)

    def requests(self):
        """The addresses of all that was asked for since the last call, from whomever."""
        messages = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        return [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]

    def until(self, what, script, *args, within=20):
        """Waits until the script returns something true, and returns that."""
        deadline = time.monotonic() + within
        while True:
            value = self.run(script, *args)
            if value:
                return value
            if time.monotonic() > deadline:
                raise Failed(f"not within {within} s: {what}")
            time.sleep(0.1)
