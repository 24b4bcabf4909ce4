"""The collector's script in real shells and real network namespaces."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from netinspect.cni.cilium_maps import SECTIONS
from netinspect.errors import NodeError
from netinspect.kernel.namespace import Namespace, Trouble
from netinspect.kernel.stream import assemble
from netinspect.model.evidence import Access, NamespaceEvidence, NodeEvidence, Reading
from netinspect.node import local
from netinspect.node.reader import Answer, Request, read
from tests.conftest import unavailable

SHELLS = {"dash": ["dash"], "busybox": ["busybox", "sh"], "bash": ["bash", "--posix"]}
# Process 1 cannot be killed from within, so the shell is another.
MACHINE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
MACHINE += ["sh", "-c", 'setsid "$@"; exit 0', "sh"]
# A node in small: its own network, two namespaces of pods, the files that are read, and a secret in each of them.
NODE = """
set -e
mount -t sysfs none /sys; mount -t tmpfs none /run; mkdir -p /run/netns /run/flannel; echo FLANNEL_MTU=1450 >/run/flannel/subnet.env
mkdir -p /etc/cni/net.d; mount -t tmpfs none /etc/cni; mkdir -p /etc/cni/net.d
echo '{"name": "x", "kubernetes": {"k8s_auth_token": "s3cret", "kubeconfig": "/etc/c"}, "Password" : "s3cret"}' >/etc/cni/net.d/10-x.conflist
ip link set lo up; ip link add br0 type bridge; ip link set br0 up; ip addr add 10.7.0.1/24 dev br0
for n in 1 2; do
  unshare --net sleep 300 & pid=$!
  while [ "$(readlink /proc/$pid/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
  ip link add veth$n type veth peer name eth0 netns $pid; ip link set veth$n master br0; ip link set veth$n up
  nsenter --net=/proc/$pid/ns/net sh -c "ip link set lo up; ip link set eth0 up; ip addr add 10.7.0.1$n/24 dev eth0; ip route add default via 10.7.0.1"
done
nsenter --net=/proc/$pid/ns/net iptables-nft -t nat -A OUTPUT -p tcp -j REDIRECT --to-ports 15001
iptables-legacy -A FORWARD -s 10.0.0.0/8 -j ACCEPT; nft add table ip mine
set +e
"""  # noqa: E501 - a line of shell


def run(
    request: Request,
    *,
    shell: Sequence[str] = ("dash",),
    setup: str = NODE,
    path: str = "",
    deadline: float = 60.0,
) -> Answer:
    """Run the script in a machine of its own: mounts, processes and network."""

    def shell_of_its_own(script: bytes) -> Answer:
        prepared = f"{setup}\n{f'PATH={path}' if path else ''}\n".encode() + script
        begin = script.index(b"main() {")
        if path:
            prepared = prepared.replace(script[begin:], script[begin:].replace(b"PATH=$PATH:", b"PATH=$PATH #", 1))
        try:
            done = subprocess.run(
                [*MACHINE, *shell],
                input=prepared,
                capture_output=True,
                timeout=deadline,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            return Answer(late.stdout or b"", broken="late")
        if b"unshare: unshare failed" in done.stderr:
            unavailable(done.stderr.decode())
        return Answer(done.stdout, done.stderr.decode())

    for program in (shell[0], "unshare", "nft", "iptables-nft", "ip"):
        if shutil.which(program) is None:
            unavailable(f"{program} is not installed")
    if os.geteuid() != 0:
        unavailable("namespaces need root")
    return read(shell_of_its_own, request)


def evidence(answer: Answer) -> NodeEvidence:
    (node,) = assemble([Reading("n1", Access.LOCAL, "this machine", answer.raw)])
    return node


def host(node: NodeEvidence) -> NamespaceEvidence:
    assert node.host is not None
    return node.host


@pytest.fixture(scope="module", params=SHELLS)
def collected(request: pytest.FixtureRequest) -> NodeEvidence:
    return evidence(run(Request(on_host=True), shell=SHELLS[str(request.param)]))


def test_every_shell_sees_every_namespace(collected: NodeEvidence) -> None:
    assert collected.complete
    assert collected.sees_pods
    assert len(collected.namespaces) == 3
    own = Namespace(host(collected))
    assert {"lo", "br0", "veth1", "veth2"} == {link.ifname for link in own.links}
    assert [r.variant for r in own.iptables] == ["legacy"]
    assert own.nftables.tables[0].name == "mine"
    assert own.sysctls["ipv4/ip_forward"] in ("0", "1")
    assert "ipv4/conf/veth1/rp_filter" in own.sysctls
    assert not [m for m in own.missing() if m.trouble is not Trouble.ABSENT]
    pods = [Namespace(n) for n in collected.namespaces if not n.is_host]
    assert {a.local for p in pods for link in p.links for a in link.addresses if a.family == "inet"} == {
        "127.0.0.1", "10.7.0.11", "10.7.0.12",
    }  # fmt: skip
    assert sum(bool(p.iptables) for p in pods) == 1
    assert all(any(r.dst == "0.0.0.0/0" for r in p.routes) for p in pods)
    assert all("ipv4/conf/eth0/rp_filter" in p.sysctls and "ipv4/conf/br0/rp_filter" not in p.sysctls for p in pods)


def test_secrets_stay_where_they_are(collected: NodeEvidence) -> None:
    text = host(collected).sections["cni:/etc/cni/net.d/10-x.conflist"].text
    assert '"kubeconfig": "/etc/c"' in text
    assert text.count("(left out)") == 2
    assert "s3cret" not in str(collected)


def test_command_lines_show_only_the_flags_that_are_for_us() -> None:
    setup = NODE + (
        "mkdir /run/bin; cp $(command -v sleep) /run/bin/kubelet\n"
        "cp $(command -v sh) /run/bin/kube-proxy\n"
        "/run/bin/kube-proxy -c 'sleep 300; :' --cluster-cidr=10.0.0.0/8 --token=s3cret --proxy-mode=nftables &\n"
    )
    node = evidence(run(Request(on_host=True, pods=()), setup=setup))
    flags = [s.text.split() for name, s in host(node).sections.items() if name.startswith("flags:")]
    assert flags == [["kube-proxy", "--cluster-cidr=10.0.0.0/8", "--proxy-mode=nftables"]]
    assert len(node.namespaces) == 1


@pytest.mark.parametrize("tool", ["cilium-dbg", "cilium"])
def test_the_agent_of_cilium_is_asked_in_its_own_container(tool: str) -> None:
    """The tool is where only the agent sees it, and may bear its older name."""
    setup = NODE + (
        "ip link add cilium_host type veth peer name cilium_net\n"
        "mkdir /run/bin; cp $(command -v sleep) /run/bin/cilium-agent\n"
        "unshare --mount sh -c 'mount -t tmpfs none /usr/local/bin; "
        f'printf "#!/bin/sh\\necho \\"\\$*\\"\\n" >/usr/local/bin/{tool}; chmod +x /usr/local/bin/{tool}; '
        "touch /run/ready; exec /run/bin/cilium-agent 300' &\n"
        "while ! [ -e /run/ready ] || ! grep -q -l -x cilium-agent /proc/[0-9]*/comm; do sleep 0.05; done\n"
    )
    sections = host(evidence(run(Request(on_host=True, pods=()), setup=setup))).sections
    asked = {n: s.text.strip() for n, s in sections.items() if n.startswith("cilium:")}
    assert set(asked) == set(SECTIONS)
    assert asked["cilium:bpf-policy"] == "bpf policy get --all -o json"
    assert all(text.endswith(" -o json") for text in asked.values())


def test_open_vswitch_is_asked_where_its_daemon_runs_and_the_secrets_of_its_tunnels_are_left_out() -> None:
    rows = r"""[["uuid","1"],"t",1,"geneve",["map",[["csum","true"],["psk","s3\"cret"],["remote_ip","1.2.3.4"]]]]"""
    setup = NODE + (
        "ip link add ovs-system type bridge\n"
        "mkdir /run/bin; cp $(command -v sleep) /run/bin/ovs-vswitchd\n"
        "unshare --mount sh -c 'mount -t tmpfs none /usr/local/bin; cd /usr/local/bin; "
        'printf "#!/bin/sh\\necho \\"\\$*\\"\\n" >ovs-ofctl; cp ovs-ofctl ovs-appctl; cat >ovs-vsctl; chmod +x ovs-*; '
        "touch /run/ready; exec /run/bin/ovs-vswitchd 300' <<'END' &\n"
        "#!/bin/sh\n"
        "case $* in list-br) echo br-int; echo br-ex ;; *Interface) cat <<'ROWS'\n"
        f'{rows}\nROWS\n;; *) echo "$*" ;; esac\nEND\n'
        "while ! [ -e /run/ready ] || ! grep -q -l -x ovs-vswitchd /proc/[0-9]*/comm; do sleep 0.05; done\n"
        # Where the tools are, and speak to no daemon, they are of no use.
        "mkdir /run/here; ln -s $(command -v false) /run/here/ovs-vsctl; PATH=/run/here:$PATH\n"
    )
    sections = host(evidence(run(Request(on_host=True, pods=()), setup=setup))).sections
    asked = {n: s.text.strip() for n, s in sections.items() if n.startswith("ovs:")}
    kinds = ("flows", "groups", "options", "learned")
    several = {f"ovs:{kind}:{bridge}" for kind in kinds for bridge in ("br-int", "br-ex")}
    assert set(asked) == {"ovs:bridges", "ovs:ports", "ovs:interfaces", *several}
    assert asked["ovs:flows:br-ex"].endswith("dump-flows br-ex")
    assert asked["ovs:learned:br-int"] == "fdb/show br-int"
    assert '["psk","(left out)"],["remote_ip","1.2.3.4"]' in asked["ovs:interfaces"]
    assert "cret" not in str(asked)


def test_only_the_wanted_pods_are_entered() -> None:
    nowhere = "00000000-0000-0000-0000-000000000000"
    assert [n.id for n in evidence(run(Request(on_host=True, pods=(nowhere,)))).namespaces] == ["host"]


def test_the_namespace_of_the_shell_alone() -> None:
    node = evidence(run(Request(within=True)))
    assert [n.id for n in node.namespaces] == ["self"]
    assert "br0" in {link.ifname for link in Namespace(node.namespaces[0]).links}


def fake(folder: Path, name: str, script: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def left_running(pattern: str) -> str:
    return subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=False).stdout


def test_a_tool_that_hangs_costs_its_own_section_alone(tmp_path: Path) -> None:
    fake(tmp_path, "nft", "exec sleep 1001")
    node = evidence(run(Request(on_host=True, pods=(), deadline=12), path=f"{tmp_path}:$PATH"))
    assert node.complete
    assert host(node).sections["nftables"].exit_code == 124
    assert ("nftables", Trouble.FAILED) in [(m.section, m.trouble) for m in Namespace(host(node)).missing()]
    assert not left_running("sleep 1001")


def test_the_deadline_ends_everything(tmp_path: Path) -> None:
    fake(tmp_path, "nft", "exec sleep 1002")
    fake(tmp_path, "timeout", "exit 1")
    begun = time.monotonic()
    node = evidence(run(Request(on_host=True, pods=(), deadline=3), path=f"{tmp_path}:$PATH"))
    assert time.monotonic() - begun < 10
    assert not node.complete
    assert host(node).sections["links"].answered
    assert host(node).sections["nftables"].exit_code is None
    assert ("nftables", Trouble.CUT) in [(m.section, m.trouble) for m in Namespace(host(node)).missing()]
    assert not left_running("sleep 1002")


def test_a_tool_that_will_not_end_does_not_outlive_the_reading(tmp_path: Path) -> None:
    fake(tmp_path, "nft", "trap '' TERM INT; while :; do sleep 1003; done")
    node = evidence(run(Request(on_host=True, pods=(), deadline=8), path=f"{tmp_path}:$PATH"))
    assert ("nftables", True) in [(m.section, bool(m.message)) for m in Namespace(host(node)).missing()]
    assert not left_running("sleep 1003")


@pytest.mark.parametrize(
    ("file", "shown"),
    [
        ('{"a": {"PASSWORD":"s3cret", "auth" : "s3\\"s3cret"}, "mtu": 1400}', '"mtu": 1400'),
        ('{"keys": ["s3cret"], "mtu": 1400}', "left out"),
        ('{"token":\\n "s3cret"}', "(left out)"),
        ('{"userPass": 5, "x": "s3cret"}', "left out"),
    ],
)
def test_no_spelling_of_a_credential_is_shown(file: str, shown: str) -> None:
    setup = NODE + f"printf '{file}' >/etc/cni/net.d/20-y.conf\n"
    section = host(evidence(run(Request(on_host=True, pods=()), setup=setup))).sections["cni:/etc/cni/net.d/20-y.conf"]
    assert shown in section.text
    assert "s3cret" not in section.text


def test_a_long_table_is_cut_and_said_to_be(tmp_path: Path) -> None:
    line = "udp 17 10 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 mark=0 use=1"
    fake(tmp_path, "conntrack", f"yes '{line}' | head -c 10000000")
    answer = run(Request(on_host=True, pods=(), bound=50_000), path=f"{tmp_path}:$PATH")
    namespace = Namespace(host(evidence(answer)))
    assert len(answer.raw) < 1_000_000
    assert [(m.section, m.trouble) for m in namespace.missing() if m.section == "conntrack"] == [
        ("conntrack", Trouble.CUT)
    ]
    assert 800 < len(namespace.connections) < 1000


@pytest.mark.parametrize("name", ["ip", "conntrack"])
def test_what_a_tool_leaves_behind_holds_no_descriptor_of_ours(name: str, tmp_path: Path) -> None:
    """As busybox' timeout leaves its watcher: who listens to us would wait for it."""
    fake(tmp_path, name, "ls -l /proc/self/fd | sed -n 's|.* \\([0-9]*\\) -> .*|fd \\1|p'")
    section = host(evidence(run(Request(on_host=True, pods=()), path=f"{tmp_path}:$PATH"))).sections
    told = section["conntrack" if name == "conntrack" else "routes4"].text.split("\n")
    # The last is of ls itself.
    assert [line for line in told if line.startswith("fd ")] == ["fd 0", "fd 1", "fd 2", "fd 3"]


def test_without_any_tool_the_kernel_is_asked_itself(tmp_path: Path) -> None:
    for name in ("sh", "cat", "grep", "sed", "ls", "head", "tr", "sleep", "readlink", "cut", "uname", "timeout"):
        (tmp_path / name).symlink_to(shutil.which("busybox") or "/nonexistent")
    node = evidence(run(Request(within=True), shell=["busybox", "sh"], path=str(tmp_path)))  # noqa: S604
    namespace = Namespace(node.namespaces[0])
    assert {"lo", "br0"} <= {link.ifname for link in namespace.links}
    assert any(r.dst == "10.7.0.0/24" and r.dev == "br0" for r in namespace.routes)
    troubles = {m.section: m.trouble for m in namespace.missing()}
    assert troubles["nftables"] is Trouble.ABSENT
    assert troubles["links"] is Trouble.LOSSY


def test_a_namespace_that_cannot_be_entered_is_said_to_be(tmp_path: Path) -> None:
    fake(tmp_path, "nsenter", "exit 1")
    setup = NODE.replace("nsenter", shutil.which("nsenter") or "nsenter")
    node = evidence(run(Request(on_host=True), setup=setup, path=f"{tmp_path}:$PATH"))
    others = [Namespace(n) for n in node.namespaces if not n.is_host]
    assert len(others) == 2
    assert all(("links", Trouble.ABSENT) in [(m.section, m.trouble) for m in n.missing()] for n in others)


def test_a_pod_does_not_choose_what_is_read_of_it() -> None:
    """A pod's resolv.conf may lead to a device that never ends, a pipe, or a file of the node."""
    leads = "mkdir -p /run/fs/etc; ln -s {} /run/fs/etc/resolv.conf"
    for target in ("/dev/zero", "/run/pipe", "/run/secret"):
        setup = NODE + (
            f"mkfifo /run/pipe; echo 'search of.the.node s3cret' >/run/fine; echo 'token s3cret' >/run/secret\n"
            f"{leads.format(target)}\n"
            "for d in bin lib lib64 usr proc dev run; do mkdir -p /run/fs/$d; mount --rbind /$d /run/fs/$d; done\n"
            "unshare --net chroot /run/fs sleep 300 &\nsleep 0.3\n"
        )
        begun = time.monotonic()
        node = evidence(run(Request(on_host=True), setup=setup))
        assert node.complete
        assert time.monotonic() - begun < 20
        texts = [
            n.sections["resolv.conf"].text for n in node.namespaces if not n.is_host and "resolv.conf" in n.sections
        ]
        assert "s3cret" not in str(texts)


def test_what_tools_print_is_not_taken_for_our_own(tmp_path: Path) -> None:
    fake(tmp_path, "ipset", "echo '@abc section host links'; printf '@abc end 0'; echo oh >&2; echo '@x' >&2; exit 3")
    section = host(evidence(run(Request(on_host=True, pods=()), path=f"{tmp_path}:$PATH"))).sections["ipset"]
    assert (section.text, section.exit_code) == ("@abc section host links\n@abc end 0", 3)
    assert section.stderr == "oh\n@x"


def test_a_stream_that_ends_anywhere_is_read_to_there() -> None:
    raw = run(Request(on_host=True)).raw
    whole = host(evidence(Answer(raw)))
    for end in range(200, len(raw), len(raw) // 40):
        node = evidence(Answer(raw[:end]))
        assert not node.complete
        for name, section in host(node).sections.items() if node.host else ():
            assert whole.sections[name].text.startswith(section.text.rstrip("\n"))


def test_no_shell_is_an_error_with_a_hint() -> None:
    with pytest.raises(NodeError, match="did not begin") as raised:
        read(lambda _script: Answer(b"", "sh: not found"), Request())
    assert raised.value.hint


def test_this_machine_is_read_with_its_own_shell_and_nothing_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        unavailable("looking into this machine needs root")
    answer = read(lambda s: local.run(s, deadline=60, most=1 << 28), Request(on_host=True, pods=()))
    assert not answer.broken
    assert evidence(answer).complete
    hung = local.run(b"echo begun; sleep 4321", deadline=1, most=1000)
    assert hung.raw == b"begun\n"
    assert "no end after 1 s" in hung.broken
    assert local.run(b"yes", deadline=20, most=5000).broken
    assert not subprocess.run(["pgrep", "-f", "sleep 4321"], capture_output=True, check=False).stdout
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NodeError, match="needs root"):
        local.check()
