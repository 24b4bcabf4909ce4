# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
CASES ?= 50000
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# What the tests and the lab need, by Debian's names.
TEST_PACKAGES := bash busybox chromium-headless-shell conntrack containernetworking-plugins curl ethtool fish gcc graphviz ipset iproute2 iptables \
	ipvsadm kmod libc6-dev nftables openssl openvswitch-switch ovn-central ovn-host procps qemu-system-x86 runc socat \
	tcpdump user-mode-linux wireguard-tools zsh

.PHONY: demo docs test faults lint lab lab-down test-packages lab-packages completions demo-recording bench fuzz clean

demo: $(VENV)/.runs ## show the map of a recorded cluster
	$(BIN)/netinspect map --demo

test: $(STAMP) ## run every test that this machine can run
	$(BIN)/python -m pytest --numprocesses 3 --dist loadscope --no-loadscope-reorder --durations 25
	@echo "Tests that were skipped say why above. As root on Debian, \`make test-packages\` installs what they need."

faults: $(STAMP) ## break a lab in many ways, and print what the trace says of each (root)
	$(BIN)/python -m tests.faults

lint: $(STAMP) ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lab: $(STAMP) ## a real cluster in namespaces of this machine (root)
	$(BIN)/python -m tests.lab up

lab-down: $(STAMP) ## remove it
	$(BIN)/python -m tests.lab down

test-packages lab-packages: ## install what the tests and the lab need, on Debian (root)
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(TEST_PACKAGES)
	@# The tests start daemons of their own, in folders and namespaces of their own.
	@for daemon in ovn-host ovn-central openvswitch-switch; do service $$daemon stop >/dev/null 2>&1 || :; done

completions: $(STAMP) ## write completions/ anew
	$(BIN)/python -m completions.generate

docs: $(STAMP) ## write the generated pages of docs/ anew
	$(BIN)/python -m docs.generate

demo-recording: $(STAMP) ## record the lab with its workloads as the demo that is shipped (root)
	$(BIN)/python -m tests.lab up --name demo --ip-family dual
	$(BIN)/netinspect snapshot --force netinspect/demo.zip \
		--kubeconfig "$$($(BIN)/python -m tests.lab kubeconfig --name demo)"
	$(BIN)/python -m tests.lab down --name demo

fuzz: $(STAMP) ## look for input that breaks a parser, for MINUTES (10), and for packets the simulator has wrong, in CASES
	$(BIN)/pip install --quiet --group fuzz
	$(BIN)/python -m tests.kernel.fuzz
	$(BIN)/python -m tests.kernel.oracle.campaign $(CASES)

bench: $(STAMP) ## the figures of benchmarks/README.md
	$(BIN)/python -m benchmarks help
	$(BIN)/python -m benchmarks rules
	$(BIN)/python -m benchmarks walk
	$(BIN)/python -m benchmarks traces
	$(BIN)/python -m benchmarks mesh
	$(BIN)/python -m benchmarks checks
	$(BIN)/python -m benchmarks map

clean:
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

$(VENV)/.runs: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --editable .
	touch $@

$(STAMP): pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --editable . --group dev
	touch $@ $(VENV)/.runs
