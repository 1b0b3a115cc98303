#!/usr/bin/env bash
# The status page of a demo, used as a person does: in Chromium, driven by WebDriver from Python's standard library.
# Needs Debian's chromium, chromium-driver, fonts-dejavu-core, dig, python3. E2E_SHOTS keeps the pictures that are taken.
source "$(dirname "$0")/lib.sh"
begin page
command -v chromedriver >/dev/null || fail "no chromedriver: apt-get install chromium chromium-driver fonts-dejavu-core"

SHOTS=${E2E_SHOTS:-$WORK/shots}
mkdir -p "$SHOTS" "$WORK/home"
# The browser's own: nothing of it is to be left, and nothing of somebody else's to be used.
export SERVER HOME=$WORK/home XDG_RUNTIME_DIR=$WORK/home TMPDIR=$WORK/home PYTHONDONTWRITEBYTECODE=1

namespace one
spawn "${NS[one]}" demo "$SERVER" demo
DEMO=$SPAWNED
# Its end is part of what is checked: nothing the shell has to tell.
disown "$DEMO"
within 20 grep -qs 'Ctrl-C' "$WORK/demo.log" || fail "the demo does not start"
URL=$(grep -o 'http://[0-9.:]*' "$WORK/demo.log" | head -n 1)/
DNS=$(grep -o '127.0.0.1:[0-9]*' "$WORK/demo.log" | head -n 1)
ok "the demo tells where its page is: $URL"

printf 'three-words-of-nonsense\n' >"$WORK/token"
chmod 600 "$WORK/token"
cat >"$WORK/token.toml" <<END
[server]
listen = ["127.0.0.1:5400"]
[admin]
listen = ["127.0.0.1:8153"]
token_file = "$WORK/token"
[zones."token.test".cluster]
seeds = ["127.0.1.111"]
port = $(sed -n 's/.*nodes on port \([0-9]*\).*/\1/p' "$WORK/demo.log")
datacenters = { dc1 = ["rack1", "rack2", "rack3"], dc2 = ["rack1", "rack2", "rack3"] }
END
server one serve --config "$WORK/token.toml"
within 20 grep -qs 'admin: ' "$WORK/server.log" || fail "the server with a token does not start"
TOKEN_URL=http://x:three-words-of-nonsense@127.0.0.1:8153/

spawn "${NS[one]}" driver chromedriver --port=9515
DRIVER=$SPAWNED
within 20 grep -qs 'started successfully' "$WORK/driver.log" || fail "chromedriver does not start"

in_ns one python3 "$E2E/page/check.py" 9515 "$URL" "${DNS##*:}" "$DEMO" "$TOKEN_URL" "$SHOTS" "$WORK/profile" ||
    fail "see above; the pictures taken until then were in $SHOTS"
# Killed by the last check, on purpose.
end "$DEMO"
end "$DRIVER"
finish
