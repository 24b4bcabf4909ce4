"""Faults that are put into a real mesh: a request meets them, and what is said of the mesh names them."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from tests.cluster.requests import Pod, pods
from tests.cluster.test_istio import NAMESPACES, lab  # noqa: F401 - the same lab
from tests.conftest import Netinspect
from tests.lab.cluster import get, kubectl
from tests.lab.images import NETSHOOT
from tests.lab.settings import Settings

INSIDE = ("--access", "exec")
INJECTOR = "mutatingwebhookconfiguration/istio-sidecar-injector"
# Proxies are told of policies in a moment, and keep connections of before for their drain, in seconds.
_SOON = 60.0


@dataclass(frozen=True)
class Fault:
    """What is done and undone (see ``act``), what is asked then, and what must be said.

    ``objects`` are made first and deleted last. ``request`` is a client, a URL, and the code that it meets: 0 where no
    answer comes.
    """

    name: str
    ask: tuple[str, ...]
    says: tuple[str, ...]
    objects: str = ""
    do: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    request: tuple[str, str, int] | None = None


def istio(kind: str, name: str, namespace: str, spec: str, group: str = "security") -> str:
    return (
        f"apiVersion: {group}.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec: {spec}\n---\n"
    )


def rule(host: str, namespace: str, spec: str) -> str:
    full = f"{host}.{namespace}.svc.cluster.local"
    return istio("DestinationRule", host, namespace, f"{{host: {full}, {spec}}}", "networking")


def route(host: str, namespace: str, destination: str) -> str:
    full = f"{host}.{namespace}.svc.cluster.local"
    spec = f"{{hosts: [{full}], http: [{{route: [{{destination: {destination}}}]}}]}}"
    return istio("VirtualService", host, namespace, spec, "networking")


def narrow(more: str = "") -> str:
    return istio("Sidecar", "narrow", "inside", f"{{egress: [{{hosts: ['istio-system/*']}}]{more}}}", "networking")


def leading(backend: str, more: str = "") -> str:
    """Give a route of the Gateway API that hangs on a Service."""
    spec = (
        f"{{parentRefs: [{{group: '', kind: Service, name: api, port: 80}}], "
        f"rules: [{{{more}backendRefs: [{{name: {backend}, port: 80}}]}}]}}"
    )
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: api, namespace: inside}\n"
        f"spec: {spec}\n---\n"
    )


def namespace(name: str, labels: str = "{}") -> str:
    return f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {labels}}}\n---\n"


def pod(name: str, around: str, annotations: str = "{}", user: int = 0) -> str:
    return (
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {around}, annotations: {annotations}}}\n"
        f"spec: {{nodeName: n2, terminationGracePeriodSeconds: 0, securityContext: {{runAsUser: {user}}}, containers: "
        f"[{{name: app, image: '{NETSHOOT}', command: [/bin/sh, -c, 'exec httpd -f -p 8080 -h /tmp']}}]}}\n---\n"
    )


PLAIN, STRICT, API = "http://plain.outside/", "http://vault.strict/", "http://api.inside/"
FAULTS = (
    Fault("STRICT against a plain client", ("mesh", "outside/plain", "svc/strict/vault:80"),
          ("× refused, plaintext: the server asks for mutual TLS",), request=("plain", STRICT, 0)),  # noqa: RUF001
    Fault("DestinationRule DISABLE against STRICT", ("mesh", "inside/client", "svc/strict/vault:80"),
          ("the server asks for mutual TLS, and this is plaintext", "DestinationRule strict/vault"),
          objects=rule("vault", "strict", "trafficPolicy: {tls: {mode: DISABLE}}"), request=("client", STRICT, 503)),
    Fault("ISTIO_MUTUAL against DISABLE", ("mesh", "inside/client", "svc/inside/api:80"),
          ("the server takes no TLS", "PeerAuthentication inside/api"),
          objects=rule("api", "inside", "trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}")
          + istio("PeerAuthentication", "api", "inside",
                  "{selector: {matchLabels: {app: api}}, mtls: {mode: DISABLE}}"),
          request=("client", API, 503)),
    Fault("port left out by the client", ("mesh", "inside/leaker", "pod/strict/vault:8080"),
          ("leaves out what goes to", "the server asks for mutual TLS"),
          request=("leaker", "http://vault.pod:8080/", 0)),
    Fault("port left out by the server", ("mesh", "inside/client", "svc/inside/partial:9090"),
          ("leaves out what comes for port 9090", "mutual TLS comes to a server that has no proxy for it"),
          request=("client", "http://partial.inside:9090/", 503)),
    Fault("denied by a policy", ("mesh", "inside/client", "svc/inside/api:80"),
          ("AuthorizationPolicy inside/no-clients does not let it in", "403"),
          objects=istio("AuthorizationPolicy", "no-clients", "inside",
                        "{selector: {matchLabels: {app: api}}, action: DENY, rules: [{from: [{source: {namespaces: "
                        "[inside]}}]}]}"), request=("client", API, 403)),
    Fault("let in by no policy", ("mesh", "inside/client", "svc/inside/api:80"),
          ("403", "AuthorizationPolicy inside/others"),
          objects=istio("AuthorizationPolicy", "others", "inside",
                        "{selector: {matchLabels: {app: api}}, rules: [{from: [{source: {principals: "
                        "[cluster.local/ns/other/sa/other]}}]}]}"), request=("client", API, 403)),
    Fault("subset that no pod has", ("mesh", "inside/client", "svc/inside/api:80"),
          ("no pod of the Service has the labels of subset v9",),
          objects=rule("api", "inside", "subsets: [{name: v9, labels: {version: v9}}]")
          + route("api", "inside", "{host: api.inside.svc.cluster.local, subset: v9}"), request=("client", API, 503)),
    Fault("subset that no rule defines", ("mesh", "inside/client", "svc/inside/api:80"),
          ("no DestinationRule defines subset v8",),
          objects=route("api", "inside", "{host: api.inside.svc.cluster.local, subset: v8}"),
          request=("client", API, 503)),
    Fault("route to a Service that is not there", ("mesh", "inside/client", "svc/inside/api:80"),
          ("leads to nobody.inside.svc.cluster.local", "is not there"),
          objects=route("api", "inside", "{host: nobody.inside.svc.cluster.local}"), request=("client", API, 503)),
    Fault("Sidecar that leaves the server out, against STRICT", ("mesh", "inside/client", "svc/strict/vault:80"),
          ("the server asks for mutual TLS, and this is plaintext", "Sidecar inside/narrow"),
          objects=narrow(), request=("client", STRICT, 0)),
    Fault("Sidecar that leaves the server out, and lets nothing else out",
          ("mesh", "inside/client", "svc/inside/api:80"),
          ("failed", "REGISTRY_ONLY (Sidecar inside/narrow)"),
          objects=narrow(", outboundTrafficPolicy: {mode: REGISTRY_ONLY}"), request=("client", API, 0)),
    Fault("route of the Gateway API to a Service that is not there",
          ("mesh", "inside/client", "svc/inside/api:80", "--path", "/"),
          ("HTTPRoute inside/api leads to Service gone", "answers 500"),
          objects=leading("gone"), request=("client", API, 500)),
    Fault("route of the Gateway API that matches nothing",
          ("mesh", "inside/client", "svc/inside/api:80", "--path", "/"),
          ("no rule of HTTPRoute inside/api matches", "404"),
          objects=leading("api", "matches: [{path: {type: Exact, value: /other}}], "), request=("client", API, 404)),
    Fault("rules flushed", ("mesh", "inside/client", *INSIDE), ("broken", "passes the proxy by"),
          do=("@client iptables-save -t nat >/tmp/kept; iptables -t nat -F",),
          undo=("@client iptables-restore -T nat </tmp/kept",), request=("client", STRICT, 0)),
    Fault("proxy dead", ("mesh", "inside/api", *INSIDE), ("broken", "15001"),
          do=("%api SIGSTOP pilot-agent", "%api SIGKILL envoy"), undo=("%api SIGCONT pilot-agent",),
          request=("client", API, 503)),
    Fault("label set after the pod", ("mesh", "-n", "late"),
          ("pod/late/early: it should be in Istio", "istio-injection on its namespace, which was set at"),
          objects=namespace("late") + pod("early", "late"),
          do=("label namespace late istio-injection=enabled",)),
    Fault("revision without a control plane", ("mesh", "canary/stray"), ("should be", "canary", "revision"),
          objects=namespace("canary", "{istio.io/rev: canary}") + pod("stray", "canary")),
    Fault("injector's configuration gone", ("mesh", "inside/stray"), ("should be", "webhook"),
          do=(f"delete {INJECTOR}", "apply -f {stray}"), undo=("delete -f {stray}", "create -f {kept}")),
    Fault("injector away, and failures ignored", ("mesh", "inside/stray"),
          ("should be", "no ready pod is behind Service istio-system/istiod", "Ignore"),
          do=("patch {injector} --type=json -p {ignore}", "-n istio-system scale deployment/istiod --replicas=0",
              "-n istio-system wait --for=delete pod -l app=istiod --timeout=60s", "apply -f {stray}"),
          undo=("delete -f {stray}", "-n istio-system scale deployment/istiod --replicas=1",
                "-n istio-system rollout status deployment/istiod", "replace --force -f {kept}")),
    Fault("control plane away", ("mesh",), ("pods that ask for Istio are refused", "Service istio-system/istiod"),
          do=("-n istio-system scale deployment/istiod --replicas=0",
              "-n istio-system wait --for=delete pod -l app=istiod --timeout=60s"),
          undo=("-n istio-system scale deployment/istiod --replicas=1",
                "-n istio-system rollout status deployment/istiod")),
    Fault("labels that contradict each other", ("mesh", "-n", "torn"),
          ("istio-injection=disabled makes istio.io/rev=default count for nothing",),
          objects=namespace("torn", "{istio-injection: disabled, istio.io/rev: default}") + pod("stray", "torn")),
    Fault("proxy that never gets ready", ("mesh", "inside/lost"), ("broken", "not ready"),
          objects=pod("lost", "inside", '{sidecar.istio.io/nativeSidecar: "false", '
                      'proxy.istio.io/config: "{discoveryAddress: nowhere.istio-system.svc:15012, '
                      'holdApplicationUntilProxyStarts: false}"}')),
    Fault("opted out after it was made", ("mesh", "inside/client"), ("should not be, and is",),
          do=("-n inside label pod client sidecar.istio.io/inject=false",),
          undo=("-n inside label pod client sidecar.istio.io/inject-",)),
    Fault("application runs as the proxy's user", ("trace", "inside/same", "svc/strict/vault:80", *INSIDE),
          ("as user 1337 is its own", "it bypasses the mesh"),
          objects=pod("same", "inside", user=1337)),
)  # fmt: skip


@pytest.fixture(scope="module")
def files(lab: Settings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:  # noqa: F811
    """Give the files that faults name: the injector's configuration as it was, and pods that are made meanwhile."""
    folder = tmp_path_factory.mktemp("faults")
    kept, stray, injector = folder / "kept.json", folder / "stray.yaml", get(lab, INJECTOR)
    kept.write_text(json.dumps(injector))
    stray.write_text(pod("stray", "inside"))
    policies = (f"/webhooks/{number}/failurePolicy" for number in range(len(injector["webhooks"])))
    ignore = json.dumps([{"op": "replace", "path": path, "value": "Ignore"} for path in policies])
    return {"kept": str(kept), "stray": str(stray), "injector": INJECTOR, "ignore": ignore}


def act(lab: Settings, there: dict[str, Pod], files: dict[str, str], action: str) -> None:  # noqa: F811
    """Do one thing: ``@POD COMMAND`` in a pod's application, ``%POD SIGNAL PROGRAM`` to its processes, or kubectl."""
    name, _, command = action[1:].partition(" ")
    match action[0]:
        case "@":
            there[name].run("sh", "-c", command)
        case "%":
            number, program = command.split()
            there[name].signal(signal.Signals[number], program)
        case _:
            kubectl(lab, *(w.format_map(files) if "{" in w else w for w in action.split()))


@contextmanager
def broken(lab: Settings, fault: Fault, files: dict[str, str]) -> Iterator[dict[str, Pod]]:  # noqa: F811
    """Do it, and undo it whatever happens."""
    there = pods(lab, *NAMESPACES)
    with ExitStack() as undoing:
        if fault.objects:
            undoing.callback(kubectl, lab, "delete", "--ignore-not-found", "--now", "-f", "-", stdin=fault.objects)
            kubectl(lab, "apply", "-f", "-", stdin=fault.objects)
        for action in reversed(fault.undo):
            undoing.callback(act, lab, there, files, action)
        for action in fault.do:
            act(lab, there, files, action)
        yield there


def code(client: Pod, url: str) -> int:
    return int(client.run("curl", "-s", "-o", "/dev/null", "-m", "8", "-w", "%{http_code}", url) or 0)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.name)
def test_a_fault_is_named(lab: Settings, netinspect: Netinspect, files: dict[str, str], fault: Fault) -> None:  # noqa: F811
    with broken(lab, fault, files) as there:
        if fault.request is not None:
            client, url, met = fault.request
            url = url.replace("vault.pod", there["vault"].address)
            until = time.monotonic() + _SOON
            while (seen := code(there[client], url)) != met and time.monotonic() < until:
                time.sleep(1)
            assert seen == met
        until = time.monotonic() + _SOON
        while True:
            run = netinspect(*fault.ask, "--kubeconfig", lab.kubeconfig)
            missing = [text for text in fault.says if text not in run.out]
            if not missing or time.monotonic() > until:
                break
            time.sleep(2)
        assert not missing, run.out
        assert run.code == 1, run.out


def test_all_is_healed_after(lab: Settings, netinspect: Netinspect) -> None:  # noqa: F811
    there = pods(lab, *NAMESPACES)
    until = time.monotonic() + _SOON
    while code(there["client"], API) != 200 and time.monotonic() < until:
        time.sleep(1)
    run = netinspect("mesh", "--kubeconfig", lab.kubeconfig, "-o", "json", *INSIDE)
    assert run.json.get("findings", []) == []
    assert run.code == 0
