"""The manifests under deploy/kubernetes: built, and held against schemas, each other, the image and the program.

    kubernetes.py SERVER WORK        SERVER is the program, WORK a folder for what is written

Built twice where kustomize is installed, by itself or in kubectl: by it and by what stands here, which knows as much of
kustomize as these manifests use. Where it is not, the latter has to do.
"""

import copy, json, os, pathlib, re, shutil, subprocess, sys, tomllib

import kubernetes_validate, yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy/kubernetes"
BUILDS = ["base", "overlays/scylla-operator"]
# The oldest that has all that is used, and the newest whose schemas there are.
VERSIONS = ["1.30.0", kubernetes_validate.latest_version()]
# Of lists that are merged by a key: that key. Others are replaced.
KEYS = {"containers": "name", "volumes": "name", "env": "name", "volumeMounts": "mountPath", "ports": "containerPort"}
SERVER, WORK = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])


def ok(what):
    print(f"  ok: {what}")


def need(condition, what):
    if not condition:
        sys.exit(f"kubernetes: FAILED: {what}")


def read(path):
    return [one for one in yaml.safe_load_all(path.read_text()) if one]


# What kustomize does.


def merge(into, patch):
    for key, value in patch.items():
        old = into.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            merge(old, value)
        elif isinstance(value, list) and isinstance(old, list) and key in KEYS:
            # What is new goes before, as kustomize has it.
            fresh = [one for one in value if not any(one[KEYS[key]] == other[KEYS[key]] for other in old)]
            for one in value:
                for other in old:
                    if one[KEYS[key]] == other[KEYS[key]]:
                        merge(other, one)
            old[:0] = copy.deepcopy(fresh)
        else:
            into[key] = copy.deepcopy(value)


def identity(resource):
    return resource["kind"], resource["metadata"]["name"]


def build(folder, resources=None):
    """The resources of a kustomization; `resources` are those that a component changes."""
    kustomization = read(folder / "kustomization.yaml")[0]
    known = {"apiVersion", "kind", "namespace", "resources", "components", "configMapGenerator", "images", "patches"}
    need(set(kustomization) <= known, f"{folder}: {set(kustomization) - known} is not understood here")
    resources = [] if resources is None else resources
    for name in kustomization.get("resources", []):
        path = folder / name
        resources += build(path) if path.is_dir() else read(path)
    for name in kustomization.get("components", []):
        build(folder / name, resources)
    for generator in kustomization.get("configMapGenerator", []):
        data = {name: (folder / name).read_text() for name in generator["files"]}
        old = [one for one in resources if identity(one) == ("ConfigMap", generator["name"])]
        need(bool(old) == (generator.get("behavior") == "replace"), f"{folder}: behavior of {generator['name']}")
        if old:
            old[0]["data"] = data
        else:
            new = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}, "data": data}
            resources.append(new)
    for entry in kustomization.get("patches", []):
        patch = read(folder / entry["path"])[0]
        target = [one for one in resources if identity(one) == identity(patch)]
        need(len(target) == 1, f"{folder}: {entry['path']} patches nothing")
        if patch.pop("$patch", None) == "delete":
            resources.remove(target[0])
        else:
            merge(target[0], patch)
    for image in kustomization.get("images", []):
        for one in resources:
            for container in one.get("spec", {}).get("template", {}).get("spec", {}).get("containers", []):
                if container["image"].rsplit(":", 1)[0] == image["name"]:
                    container["image"] = f"{image.get('newName', image['name'])}:{image['newTag']}"
    namespace = kustomization.get("namespace")
    for one in resources if namespace else []:
        if one["kind"] == "Namespace":
            one["metadata"]["name"] = namespace
        else:
            one["metadata"]["namespace"] = namespace
    return resources


def kustomized(folder):
    """The same by kustomize, its sums taken off the names; None where there is none."""
    for command in (["kustomize", "build"], ["kubectl", "kustomize"]):
        if shutil.which(command[0]):
            run = subprocess.run([*command, folder], capture_output=True, text=True)
            need(run.returncode == 0, f"{' '.join(command)}: {run.stderr}")
            text = re.sub(r"(name: alternator-dns)-[a-z0-9]{10}$", r"\1", run.stdout, flags=re.M)
            return [one for one in yaml.safe_load_all(text) if one]
    return None


def sorted_lists(value):
    """Without the order of lists that have none."""
    if isinstance(value, dict):
        return {key: sorted_lists(one) for key, one in value.items()}
    if isinstance(value, list):
        return sorted((sorted_lists(one) for one in value), key=lambda one: json.dumps(one, sort_keys=True))
    return value


# What is checked.


def files():
    for kustomization in sorted(FOLDER.rglob("kustomization.yaml")):
        folder, content = kustomization.parent, read(kustomization)[0]
        named = {name for name in content.get("resources", []) if not (folder / name).is_dir()}
        named |= {patch["path"] for patch in content.get("patches", [])}
        named |= {name for generator in content.get("configMapGenerator", []) for name in generator["files"]}
        there = {path.name for path in folder.iterdir() if path.is_file()} - {"kustomization.yaml"}
        need(named == there, f"{kustomization}: names {sorted(named)}, there are {sorted(there)}")
        for name in content.get("components", []) + content.get("resources", []):
            need((folder / name).exists(), f"{kustomization}: {name} is not there")
    ok("every kustomization names the files that are there")


MONITOR = {
    "spec": {"jobLabel", "selector", "endpoints"},
    "endpoint": {"port", "path", "interval", "authorization"},
    "authorization": {"type", "credentials"},
}


def schema(resource):
    if resource["kind"] == "ServiceMonitor":
        # Of the Prometheus operator: the fields used, as its reference of monitoring.coreos.com/v1 has them.
        need(resource["apiVersion"] == "monitoring.coreos.com/v1", "the version of ServiceMonitor")
        need(set(resource["spec"]) == MONITOR["spec"], "the fields of ServiceMonitor")
        for endpoint in resource["spec"]["endpoints"]:
            need(set(endpoint) == MONITOR["endpoint"], "the fields of its endpoint")
            need(set(endpoint["authorization"]) == MONITOR["authorization"], "the fields of its authorization")
        return
    for version in VERSIONS:
        kubernetes_validate.validate(resource, version, strict=True)


def schemas(resources):
    for resource in resources:
        try:
            schema(resource)
        except kubernetes_validate.ValidationError as error:
            need(False, f"{identity(resource)}: {error.message}")


def hardened(spec, container):
    """The "restricted" of Kubernetes' Pod Security Standards, and more."""
    pod, own = spec["securityContext"], container["securityContext"]
    for got, wanted in (
        (pod["runAsNonRoot"], True),
        (pod["seccompProfile"], {"type": "RuntimeDefault"}),
        (own["allowPrivilegeEscalation"], False),
        (own["readOnlyRootFilesystem"], True),
        (own["capabilities"], {"drop": ["ALL"]}),
        (spec["automountServiceAccountToken"], False),
        (spec["enableServiceLinks"], False),
        ([key for key in ("hostNetwork", "hostPID", "hostIPC", "hostUsers") if key in spec], []),
        ({kind for volume in spec["volumes"] for kind in volume} - {"name"}, {"configMap", "secret", "emptyDir"}),
        ([port for port in container["ports"] if "hostPort" in port or port["containerPort"] < 1024], []),
    ):
        need(got == wanted, f"{got} instead of {wanted}")
    need("memory" in container["resources"]["limits"] and "cpu" in container["resources"]["requests"], "resources")


def whole(folder, resources):
    """One build: its parts fit each other, the image and the program."""
    by = {identity(one): one for one in resources}
    deployment = by["Deployment", "alternator-dns"]
    template = deployment["spec"]["template"]
    spec, labels = template["spec"], template["metadata"]["labels"]
    (container,) = spec["containers"]
    hardened(spec, container)

    def selects(selector, what):
        need(selector and selector.items() <= labels.items(), f"{what} selects {selector}, the pods have {labels}")

    selects(deployment["spec"]["selector"]["matchLabels"], "the Deployment")
    need(deployment["spec"]["replicas"] >= 2, "two replicas")
    spread = spec["topologySpreadConstraints"]
    keys = [one["topologyKey"] for one in spread]
    need(keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"], "spread over zones and machines")
    need(all(one.get("nodeTaintsPolicy") == "Honor" for one in spread), "machines with taints do not count")
    ports = {port["name"]: port for port in container["ports"]}
    need(len(ports) == len(container["ports"]), "ports with names of their own")
    for one in resources:
        name = identity(one)
        namespace = one["metadata"].get("namespace")
        need(one["kind"] == "Namespace" or namespace == deployment["metadata"]["namespace"], f"the namespace of {name}")
        if one["kind"] == "Service":
            selects(one["spec"]["selector"], name)
            for port in one["spec"]["ports"]:
                target = ports.get(port["targetPort"])
                need(target and target["protocol"] == port["protocol"], f"{name}: port {port['name']} leads nowhere")
        elif one["kind"] == "PodDisruptionBudget":
            selects(one["spec"]["selector"]["matchLabels"], name)
        elif one["kind"] == "NetworkPolicy":
            selects(one["spec"]["podSelector"]["matchLabels"], name)
            for port in (port for rule in one["spec"]["ingress"] for port in rule["ports"]):
                need(ports[port["port"]]["protocol"] == port["protocol"], f"{name}: {port}")
        elif one["kind"] == "ServiceMonitor":
            service = by["Service", "alternator-dns-metrics"]
            wanted = one["spec"]["selector"]["matchLabels"]
            need(wanted.items() <= service["metadata"]["labels"].items(), f"{name} selects no Service")
            need(wanted.items() > by["Service", "alternator-dns"]["metadata"]["labels"].items(), f"{name} selects both")
            need(service["metadata"]["labels"][one["spec"]["jobLabel"]] == "alternator-dns", "the job's name")
    dns = [(port["protocol"], port["port"]) for port in by["Service", "alternator-dns"]["spec"]["ports"]]
    need(sorted(dns) == [("TCP", 53), ("UDP", 53)], "UDP and TCP on port 53")

    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    need(set(volumes) == set(mounts), "every volume is mounted, and every mount has its volume")
    image = (ROOT / "docker/Dockerfile").read_text()
    user = re.search(r"^USER (\d+):(\d+)$", image, re.M)
    context = spec["securityContext"]
    ids = [context[key] for key in ("runAsUser", "runAsGroup", "fsGroup")]
    need(ids == [int(user[1]), int(user[2]), int(user[2])], "the user is the image's")
    exposed = re.search(r"^EXPOSE (\d+)/udp (\d+)/tcp$", image, re.M)
    need([ports[name]["containerPort"] for name in ("dns-udp", "dns-tcp")] == [int(exposed[1]), int(exposed[2])],
         "the ports are the image's")
    variables = dict(re.findall(r"^ENV (\w+)=(\S+)$", image, re.M))
    need(mounts["state"] == variables["ALTERNATOR_DNS_SERVER__STATE_DIR"], "the state is on a volume")
    need(container.get("command") is None and container["args"] == ["serve"], "the image's own entry point")
    variables |= {one["name"]: one["value"] for one in container.get("env", [])}

    # The configuration as the container has it, its files where they can be here.
    here = WORK / folder.name
    for volume, files in {"credentials": ["credentials"], "ca": ["ca-bundle.crt"], "admin": ["token"]}.items():
        for name in files if volume in mounts else []:
            (here / mounts[volume].lstrip("/")).mkdir(parents=True, exist_ok=True)
            shutil.copy(WORK / name, here / mounts[volume].lstrip("/") / name)
    (config,) = by["ConfigMap", "alternator-dns"]["data"].items()
    need(config[0] == "alternator-dns.toml" and mounts["config"] == "/etc/alternator-dns", "the configuration's place")
    text = config[1]
    for mount in mounts.values():
        text = text.replace(f'"{mount}/', f'"{here}{mount}/')
        variables = {key: value.replace(f"{mount}/", f"{here}{mount}/") for key, value in variables.items()}
    (here / "alternator-dns.toml").write_text(text)
    command = [SERVER, "check", "--config", here / "alternator-dns.toml"]
    check = lambda more={}: subprocess.run(command, env=variables | more, capture_output=True, text=True)
    said = check()
    need(said.returncode == 0, f"the configuration: {said.stdout}{said.stderr}")
    need("warning" not in (said.stdout + said.stderr).lower(), f"the configuration: {said.stdout}{said.stderr}")
    # What Kubernetes sets for a Service of this name, where somebody leaves spec.enableServiceLinks out.
    links = {"ALTERNATOR_DNS_PORT": "tcp://10.96.0.53:53", "ALTERNATOR_DNS_SERVICE_PORT_DNS_UDP": "53"}
    need(check(links).returncode == 0, "links of services are taken for configuration")
    egress = by["NetworkPolicy", "alternator-dns"]["spec"]["egress"]
    allowed = {port["port"] for rule in egress for port in rule["ports"]}
    zones = tomllib.loads(config[1])["zones"]
    for name, zone in zones.items():
        need(zone["cluster"]["port"] in allowed, f"{name}: the policy does not let its port through")

    for probe, last in (("livenessProbe", "health"), ("readinessProbe", "--ready")):
        program, *arguments = container[probe]["exec"]["command"]
        need(program == "/usr/local/bin/alternator-dns" and arguments[-1] == last, probe)
        understood = subprocess.run([SERVER, *arguments, "--help"], capture_output=True)
        need(understood.returncode == 0, f"{probe}: the program does not understand {arguments}")
        # The command's own limit comes first, so that a reason is told.
        need(container[probe]["timeoutSeconds"] > 3, f"{probe}: timeoutSeconds")
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    need(spec["terminationGracePeriodSeconds"] >= pause + 5, "terminationGracePeriodSeconds")


def coredns():
    block = (FOLDER / "coredns/Corefile").read_text()
    config = read(FOLDER / "coredns/configmap.yaml")
    schemas(config)
    need(config[0]["data"] == {"alternator.server": block}, "the Corefile has another block than the ConfigMap")
    zone = next(iter(tomllib.loads((FOLDER / "base/alternator-dns.toml").read_text())["zones"]))
    need(block.startswith(f"{zone}:53 {{\n") and block.count("{") == block.count("}"), "the block is the zone's")
    need(block in (FOLDER / "README.md").read_text(), "README.md shows another block for CoreDNS")
    ok("CoreDNS: one block, as Corefile, as ConfigMap, and in README.md")


def readme():
    """Its configurations, parts of one each, are taken by the program."""
    blocks = re.findall(r"^( *)```toml\n(.*?)^ *```$", (FOLDER / "README.md").read_text(), re.M | re.S)
    need(len(blocks) >= 2, "README.md shows configurations")
    for _, block in blocks:
        # Where the overlay's files were put.
        block = block.replace("/run/alternator-dns/", f"{WORK}/scylla-operator/run/alternator-dns/")
        (WORK / "part.toml").write_text(block)
        said = subprocess.run([SERVER, "check", "--config", WORK / "part.toml"], env={}, capture_output=True, text=True)
        need(said.returncode == 0, f"README.md: {said.stdout}{said.stderr}")
    ok("README.md: its configurations are taken")


def main():
    files()
    # The validator can say no.
    wrong = read(FOLDER / "base/service.yaml")[0]
    wrong["spec"]["sessionAffinities"] = "None"
    try:
        schema(wrong)
        need(False, "the validator takes fields that do not exist")
    except kubernetes_validate.ValidationError:
        ok(f"strict schemas of Kubernetes {' and '.join(VERSIONS)}")
    for name in BUILDS:
        resources = build(FOLDER / name)
        schemas(resources)
        whole(FOLDER / name, resources)
        ok(f"{name}: {len(resources)} resources are valid and fit each other, the image and the program")
        theirs = kustomized(FOLDER / name)
        if theirs is None:
            print("  SKIPPED: no kustomize here, nor kubectl: only built by this script")
            continue
        schemas(theirs)
        whole(FOLDER / name, theirs)
        order = lambda all: sorted_lists([json.loads(json.dumps(one)) for one in all])
        need(order(theirs) == order(resources), f"{name}: kustomize builds something else")
        ok(f"{name}: the same by kustomize")
    coredns()
    readme()


os.environ.pop("KUBECONFIG", None)
main()
