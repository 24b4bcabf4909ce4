"""Do what Flannel's CNI plugin does, which cannot be had as a Go module: read subnet.env, delegate to ``bridge``.

Source: https://github.com/flannel-io/cni-plugin (flannel_linux.go). Installed as ``/opt/cni/bin/flannel``.
"""

import ipaddress
import json
import subprocess
import sys
from pathlib import Path

configuration = json.load(sys.stdin)
lines = Path("/run/flannel/subnet.env").read_text().split()
environment = dict(line.split("=", 1) for line in lines)

ranges = []
routes = []
for network, subnet in (("FLANNEL_NETWORK", "FLANNEL_SUBNET"), ("FLANNEL_IPV6_NETWORK", "FLANNEL_IPV6_SUBNET")):
    if subnet in environment:
        ranges.append([{"subnet": str(ipaddress.ip_interface(environment[subnet]).network)}])
        routes.append({"dst": environment[network]})

delegate = {
    "type": "bridge",
    "name": configuration["name"],
    "cniVersion": configuration["cniVersion"],
    "ipMasq": environment["FLANNEL_IPMASQ"] != "true",
    "mtu": int(environment["FLANNEL_MTU"]),
    "isGateway": True,
    **configuration.get("delegate", {}),
    "ipam": {"type": "host-local", "ranges": ranges, "routes": routes},
}
if "prevResult" in configuration:
    delegate["prevResult"] = configuration["prevResult"]

run = subprocess.run(
    ["/opt/cni/bin/" + delegate["type"]], input=json.dumps(delegate).encode(), stdout=subprocess.PIPE, check=False
)
sys.stdout.buffer.write(run.stdout)
sys.exit(run.returncode)
