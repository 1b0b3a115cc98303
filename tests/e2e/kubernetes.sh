#!/usr/bin/env bash
# The manifests under deploy/kubernetes and docker/compose.yaml: valid by schema, whole, and such that the program takes
# what they give it. Nothing is started. Needs what lib.sh needs, openssl, and the virtual environment of lib.sh.
source "$(dirname "$0")/lib.sh"
begin kubernetes
venv

# What secrets and the CA would bring.
openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=ca -keyout "$WORK/key" -out "$WORK/ca-bundle.crt" 2>/dev/null
printf '[default]\naws_access_key_id = dns\naws_secret_access_key = hash\n' >"$WORK/credentials"
echo 0123456789abcdef0123456789abcdef >"$WORK/token"
"$VENV/bin/python" "$E2E/kubernetes.py" "$SERVER" "$WORK"
"$VENV/bin/python" "$E2E/compose.py"
finish
