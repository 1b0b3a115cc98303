#!/usr/bin/env bash
# The container image: built from docker/Dockerfile as it is, and run the way the manifests run it: by a real container
# runtime, as nobody, read-only, without any capability. Skipped where neither podman nor buildah is installed.
#
# No registry is asked. The bases that the Dockerfile names are made here by debootstrap, which asks the mirror of
# Debian that this machine's apt asks; in the one with the compiler, cargo is a script that brings the program built
# before. So everything in the Dockerfile is tried but the compilation itself.
#
# Needs what lib.sh needs, debootstrap (E2E_BASE names a folder that it made before), and podman with runc or crun. With
# buildah alone the image is built and looked at, not run.
source "$(dirname "$0")/lib.sh"

if command -v podman >/dev/null; then
    TOOL=podman
elif command -v buildah >/dev/null; then
    TOOL=buildah
else
    echo "image: SKIPPED: neither podman nor buildah is installed here"
    exit 0
fi
begin image
command -v debootstrap >/dev/null || fail "no debootstrap here"

# Octets that the image may have besides the program: the C library and the CAs.
MOST_BESIDES=$((8 * 1024 * 1024))

IMAGE=localhost/alternator-dns:test
RELEASE=$(. /etc/os-release && echo "$VERSION_CODENAME")
VERSION=$("$SERVER" --version | cut -d ' ' -f 2)
# Whether layers can be laid over each other in the folder of ours: some kernels have no overlay, others none on top of
# another.
overlays() {
    mkdir -p "$WORK"/overlay/{lower,upper,work,merged}
    local at=$WORK/overlay
    mount -t overlay overlay -o "lowerdir=$at/lower,upperdir=$at/upper,workdir=$at/work" "$at/merged" 2>/dev/null &&
        umount "$at/merged"
}
[ -n "${E2E_STORAGE:-}" ] || { overlays && E2E_STORAGE=overlay; } || E2E_STORAGE=vfs
# Everything of ours in a folder of ours; with vfs, copies.
STORE=(--root "$WORK/store" --runroot "$WORK/run" --storage-driver "$E2E_STORAGE")
if [ $TOOL = podman ]; then
    STORE+=(--tmpdir "$WORK/tmp" --cgroup-manager cgroupfs --events-backend none)
    # crun, the usual one, runs on one version of control groups only; some machines have both mounted.
    command -v runc >/dev/null && STORE+=(--runtime runc)
fi
tool() { $TOOL "${STORE[@]}" "$@"; }

# Removes the folders of control groups that are empty by now; says whether all are gone.
groups_gone() {
    find /sys/fs/cgroup -depth -type d -path "*/e2e-image-$$*" -exec rmdir {} + 2>/dev/null
    [ -z "$(find /sys/fs/cgroup -type d -path "*/e2e-image-$$*" 2>/dev/null)" ]
}

# Containers first, then what lib.sh ends; at last the folders of control groups.
tidy() {
    local status=$?
    set +e
    [ $TOOL = buildah ] || tool rm --all --force --volumes >/dev/null 2>&1
    umount "$WORK/store/overlay" 2>/dev/null
    # Those who watched the containers leave a moment later.
    within 5 groups_gone
    (exit $status)
    cleanup
}
trap tidy EXIT

# lower RESOURCE MOST: a limit that this process may set for another, SOFT:HARD.
lower() {
    local limit
    limit=$(ulimit -H "$1")
    [ "$limit" != unlimited ] && [ "$limit" -lt "$2" ] || limit=$2
    echo "$limit:$limit"
}
# What is inherited where a process may not raise its own limits; podman's defaults are higher.
LIMITS=(--ulimit "nofile=$(lower -n 65536)" --ulimit "nproc=$(lower -u 4096)")

# The mirror that this machine's apt takes the release from; not that of its security updates, which lacks the rest. The
# first is known once apt has fetched its lists, the second from its sources alone.
mirror() {
    local which site
    for which in "Codename: $RELEASE" "Release: $RELEASE"; do
        site=$(apt-get indextargets --format '$(SITE)' "$which" 2>/dev/null | sed -n 1p)
        [ -z "$site" ] || { echo "$site" && return; }
    done
}

echo "-- build with $TOOL ($E2E_STORAGE)"
if [ -n "${E2E_BASE:-}" ]; then
    cp -a "$E2E_BASE" "$WORK/base"
else
    # Debian's own where apt names none.
    MIRROR=$(mirror)
    debootstrap --variant=minbase --include=ca-certificates "$RELEASE" "$WORK/base" ${MIRROR:+"$MIRROR"} \
        >"$WORK/debootstrap.log" 2>&1 || fail "no base from ${MIRROR:-the usual mirror}"
fi
# What the Dockerfile installs is there; its apt-get is to see just that.
: >"$WORK/base/etc/apt/sources.list"
install -m 755 "$SERVER" "$WORK/base/opt/alternator-dns"
cat >"$WORK/base/usr/local/bin/cargo" <<'SH'
#!/bin/sh
set -eu
[ "$*" = "build --release --locked --bin alternator-dns" ]
[ -s Cargo.toml ] && [ -s Cargo.lock ] && [ -s src/main.rs ]
mkdir -p target/release
cp /opt/alternator-dns target/release/
SH
chmod 755 "$WORK/base/usr/local/bin/cargo"
tar -C "$WORK/base" -c . >"$WORK/base.tar"
printf 'FROM scratch\nADD base.tar /\n' >"$WORK/Base"
BASES=(-t "docker.io/library/debian:$RELEASE-slim" -t "docker.io/library/rust:1-slim-$RELEASE")
# Isolated as far as building needs it; that has no network of its own, and nothing there asks one.
build() { tool "$([ $TOOL = podman ] && echo build || echo bud)" --isolation chroot --format docker "$@"; }
build -q "${BASES[@]}" -f "$WORK/Base" "$WORK" >"$WORK/build.log" 2>&1 || fail "no base image"
rm -rf "$WORK/base" "$WORK/base.tar"
build --network host --pull=never --build-arg "DEBIAN=$RELEASE" -t $IMAGE -f "$ROOT/docker/Dockerfile" "$ROOT" \
    >>"$WORK/build.log" 2>&1 || fail "docker/Dockerfile does not build"
ok "docker/Dockerfile builds, and the program runs on the files of the image alone"
# The real cargo understands what the Dockerfile copies.
mkdir "$WORK/context"
(cd "$ROOT" && cp -r Cargo.toml Cargo.lock src "$WORK/context/")
(cd "$WORK/context" && cargo metadata --no-deps --locked --format-version 1 >/dev/null) ||
    fail "the copied files are no package"
ok "what is copied for the compiler is a package"

echo "-- what is in it"
tool inspect --type image $IMAGE >"$WORK/image.json"
python3 - "$WORK/image.json" "$VERSION" <<'PYTHON' || fail "the image's settings"
import json, sys
image = json.load(open(sys.argv[1]))
image = image[0] if isinstance(image, list) else image["Docker"]
config = image.get("Config") or image["config"]
labels = config["Labels"]
for got, wanted in (
    (config["User"], "10053:10053"),
    (config["Entrypoint"], ["/usr/local/bin/alternator-dns"]),
    (config["Cmd"], ["serve"]),
    (sorted(config["ExposedPorts"]), ["5300/tcp", "5300/udp"]),
    (list(config["Volumes"]), ["/var/lib/alternator-dns"]),
    (config.get("StopSignal", "SIGTERM"), "SIGTERM"),
    (labels["org.opencontainers.image.version"], sys.argv[2]),
    (labels["org.opencontainers.image.licenses"], "Apache-2.0"),
    (sorted(variable.split("=")[0] for variable in config["Env"]),
     ["ALTERNATOR_DNS_SERVER__LISTEN", "ALTERNATOR_DNS_SERVER__STATE_DIR", "PATH"]),
    ((image.get("Healthcheck") or config["Healthcheck"])["Test"], ["CMD", "/usr/local/bin/alternator-dns", "health"]),
):
    if got != wanted:
        sys.exit(f"{got} instead of {wanted}")
PYTHON
ok "user, entry point, ports, volume, health check, labels; nothing else in its environment"
if [ $TOOL = podman ]; then
    MOUNTED=$(tool image mount $IMAGE)
else
    CONTAINER=$(tool from --pull=never $IMAGE)
    MOUNTED=$(tool mount "$CONTAINER")
fi
refuse "$(cd "$MOUNTED" && find . -type f)" \
    '^\./(bin|sbin|usr/sbin|usr/share)/|/(sh|bash|dash|busybox|apt|dpkg|perl|python[0-9.]*)$' "no shell, no packages"
equal "$(cd "$MOUNTED" && find . -type f -perm /111 ! -name '*.so*')" ./usr/local/bin/alternator-dns \
    "the program is all that can be run"
equal "$(cd "$MOUNTED" && find . ! -type l \( -perm /7000 -o -perm /022 \))" "" \
    "nothing is set-uid, nothing writable but by its owner"
equal "$(cd "$MOUNTED" && find . -uid +0)" ./var/lib/alternator-dns "the state's folder is all that is its user's"
BESIDES=$(($(du -sb "$MOUNTED" | cut -f 1) - $(stat -c %s "$MOUNTED/usr/local/bin/alternator-dns")))
[ $BESIDES -le $MOST_BESIDES ] || fail "$BESIDES octets besides the program"
ok "$((BESIDES / 1024)) KiB besides the program"
if [ $TOOL = buildah ]; then
    tool umount "$CONTAINER" >/dev/null
    echo "  SKIPPED: only buildah is installed here, the image was not run"
    finish
    exit 0
fi
tool image umount $IMAGE >/dev/null

echo "-- run"
namespace srv
DIG_NS=srv
address srv lo 10.99.3.{1,2,53}/32 fd99:3::53/128
cluster srv dc1/rack1=10.99.3.1 dc1/rack1=10.99.3.2
mkdir "$WORK/etc"
cat >"$WORK/etc/alternator-dns.toml" <<'TOML'
[zones."image.test"]
answers = 0
[zones."image.test".cluster]
seeds = ["10.99.3.1", "10.99.3.2"]
datacenters = { dc1 = ["rack1"] }
TOML
# run NAME OPTION... [-- ARGUMENT...]: the image, confined as it should be anywhere.
run() {
    local name=$1 options=()
    shift
    while [ $# != 0 ] && [ "$1" != -- ]; do options+=("$1") && shift; done
    [ $# = 0 ] || shift
    tool run --name "$name" --network "ns:/run/netns/${NS[srv]}" --read-only --read-only-tmpfs=false --cap-drop all \
        --security-opt no-new-privileges --cgroup-parent "/e2e-image-$$" "${LIMITS[@]}" "${options[@]}" $IMAGE "$@"
}
HOLD=(-v state:/var/lib/alternator-dns -v "$WORK/etc:/etc/alternator-dns:ro")
# Without systemd podman complains that it cannot run the health check by itself; it is run below.
run first --detach "${HOLD[@]}" >/dev/null 2>"$WORK/run.log" || fail "it does not start"
logged() { tool logs "$1" 2>&1; }
starts() { # NAME
    within 30 expects "$1" "answering over UDP and TCP.*\[::\]" || fail "it does not start: $(logged "$1")"
}
expects() { logged "$1" | grep -q -- "$2"; }
starts first
DIG_ARGS=(@10.99.3.53 -p 5300)
within 30 answered image.test A 2 || fail "no answers: $(logged first)"
for address in 10.99.3.53 fd99:3::53; do
    for transport in +notcp +tcp; do
        equal "$(ask "@$address" -p 5300 $transport +short image.test A | sort | xargs)" "10.99.3.1 10.99.3.2" \
            "the nodes: $address, $transport"
    done
done
PROCESS=$(tool inspect --format '{{.State.Pid}}' first)
STATUS=$(cat "/proc/$PROCESS/status")
expect "$STATUS" "^Uid:	10053	10053	10053	10053$" "it is user 10053"
expect "$STATUS" "^CapPrm:	0{16}$" "it has no capability"
expect "$STATUS" "^CapBnd:	0{16}$" "and gets none"
expect "$STATUS" "^NoNewPrivs:	1$" "nor any by what it runs"
expect "$STATUS" "^Seccomp:	2$" "its system calls are filtered"
expect "$(awk '$5 == "/"' "/proc/$PROCESS/mountinfo")" " / ro[ ,]" "its root is read-only"
refuse "$(logged first)" "ERROR|WARN" "without complaints"

echo "-- health"
health() { # NAME CODE PATTERN OPTION...
    local name=$1 code=$2 pattern=$3 said status=0
    shift 3
    said=$(tool exec "$name" /usr/local/bin/alternator-dns health "$@" 2>&1) || status=$?
    equal $status "$code" "health $*: exit status $code"
    expect "$said" "$pattern" "and the reason: $said"
}
health first 0 "^live: "
health first 0 "^ready: " --ready
tool healthcheck run first >/dev/null || fail "the image's own health check says unhealthy"
ok "the image's own health check says healthy"

echo "-- its end, and the next one"
tool stop --time 20 first >/dev/null 2>>"$WORK/run.log"
equal "$(tool inspect --format '{{.State.ExitCode}}' first)" 0 "SIGTERM ends it in order"
status=0
run alone --rm --no-healthcheck "${HOLD[@]}" -- health >"$WORK/alone.log" 2>&1 || status=$?
equal $status 1 "where no server runs: exit status 1"
expect "$(cat "$WORK/alone.log")" "not live: .*refused" "and the reason"
tell stop 10.99.3.1 >/dev/null
tell stop 10.99.3.2 >/dev/null
run second --detach --no-healthcheck "${HOLD[@]}" >/dev/null 2>>"$WORK/run.log" || fail "it does not start again"
starts second
within 30 answered image.test A 2 || fail "nothing was remembered: $(logged second)"
ok "while the cluster is out of reach, the nodes are those on the volume"
health second 0 "^ready: " --ready
tool stop --time 20 second >/dev/null
ZONE=(-e ALTERNATOR_DNS_ZONE=image.test)
run third --detach --no-healthcheck "${ZONE[@]}" -e ALTERNATOR_DNS_CLUSTER__SEEDS=10.99.3.1 >/dev/null \
    2>>"$WORK/run.log" || fail "it does not start from the environment"
starts third
health third 0 "^live: "
health third 1 "not ready: .*image.test" --ready
tool stop --time 20 third >/dev/null
status=0
run fourth --rm --no-healthcheck "${ZONE[@]}" -e ALTERNATOR_DNS_TTL=soon >"$WORK/wrong.log" 2>&1 || status=$?
equal $status 2 "a wrong configuration: exit status 2"
finish
