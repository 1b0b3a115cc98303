#!/usr/bin/env bash
# The status page of a demo, used as a person does: in Chromium, driven by WebDriver from Python's standard library.
# Needs Debian's chromium, chromium-driver, fonts-dejavu-core, dig, python3. E2E_SHOTS keeps the pictures that are taken.
source "$(dirname "$0")/lib.sh"
begin page
command -v chromedriver >/dev/null || fail "no chromedriver: apt-get install chromium chromium-driver fonts-dejavu-core"

SHOTS=${E2E_SHOTS:-$WORK/shots}
mkdir -p "$SHOTS" "$WORK/home"
# The browser's own: nothing of it is to be left, and nothing of somebody else's to be used.
export HOME=$WORK/home XDG_RUNTIME_DIR=$WORK/home TMPDIR=$WORK/home PYTHONDONTWRITEBYTECODE=1

namespace one
spawn "${NS[one]}" demo "$SERVER" demo
DEMO=$SPAWNED
within 20 grep -qs 'Ctrl-C' "$WORK/demo.log" || fail "the demo does not start"
URL=$(grep -o 'http://[0-9.:]*' "$WORK/demo.log" | head -n 1)/
DNS=$(grep -o '127.0.0.1:[0-9]*' "$WORK/demo.log" | head -n 1)
ok "the demo tells where its page is: $URL"

spawn "${NS[one]}" driver chromedriver --port=9515
DRIVER=$SPAWNED
within 20 grep -qs 'started successfully' "$WORK/driver.log" || fail "chromedriver does not start"

in_ns one python3 "$E2E/page/check.py" 9515 "$URL" "${DNS##*:}" "$DEMO" "$SHOTS" "$WORK/profile" ||
    fail "see above; the pictures taken until then were in $SHOTS"
# Killed by the last check, on purpose.
end "$DEMO"
end "$DRIVER"
finish
