# Headwater. `make help` lists the targets; Go, a C compiler for the race detector, and make are all that they need, but for bench.

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS   += --no-print-directory

T        ?=
PKG      ?=
ARGS     ?=
BENCH    ?= Ratio
FUZZTIME ?= 3000x
RACE     ?= -race
TIMEOUT  ?= 25m

packages := $(or $(PKG),./...)
only     := $(if $(T),-run '$(T)')
modules  := . tools tools/nats tools/nats210

# The whole-system tests drive the real nats program; absolute, since each test runs in its package's directory.
export HEADWATER_TEST_NATS_CLI ?= $(CURDIR)/bin/nats
# And the oldest server that Headwater is used with.
export HEADWATER_TEST_OLD_SERVER ?= $(CURDIR)/bin/nats-server-2.10

.DEFAULT_GOAL := help
.PHONY: help build run test check bench fuzz lint cover clean tools fmt tidy generated

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo 'T=Name and PKG=./dir narrow test, cover and bench; PKG narrows fuzz.'

build: ## build bin/headwater
	go build -o bin/headwater ./cmd/headwater

run: build ## build and start a peer, with an embedded broker unless ARGS says otherwise
	exec bin/headwater run $(ARGS)

# With T or PKG it is the tests alone, so that one case runs at once.
test: $(if $(T)$(PKG),,lint fuzz) bin/nats bin/nats-server-2.10 ## lint, fuzz for seconds, then all tests under the race detector
	go test $(RACE) -timeout $(TIMEOUT) $(only) $(packages)

check: fmt lint tidy generated ## what must hold before a commit: format, lint, tidy modules, generated files, quick tests
	go test -run '^TestImports' ./test
	go test -timeout $(TIMEOUT) $$(go list ./... | grep -v '^headwater/test')

# Real files are compared with restic and syncthing, and histories with git. All three must be installed: apt-get install git restic
# syncthing, or as the system does it.
bench: bin/nats ## whole-system ratios; BENCH= chooses others, for example make bench BENCH=. PKG=./logstore
	go test -run '^$$' -bench '$(or $(T),$(BENCH))' $(if $(PKG),-benchmem,-benchtime 1x) -timeout 1h $(or $(PKG),./test)

# Prints "package target" for each fuzz target there is.
fuzzed = go test $(RACE) -list '^Fuzz' $(packages) | \
	awk '/^Fuzz/ { name[++n] = $$1 } /^ok/ { for (i = 1; i <= n; i++) print $$2, name[i]; n = 0 }'

# A number of inputs, not of seconds: go test fails a target now and then when its time is up (go.dev/issue/75804).
fuzz: ## every fuzz target for FUZZTIME (3000x inputs); longer: make fuzz FUZZTIME=10m
	@targets=$$($(fuzzed)); \
	while read -r pkg name; do \
		test -n "$$name" || continue; \
		echo "fuzz $$pkg $$name"; \
		go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "$$pkg"; \
	done <<< "$$targets"

lint: bin/golangci-lint ## go vet and the linters of .golangci.yml
	go vet ./...
	bin/golangci-lint run ./...

cover: bin/nats bin/nats-server-2.10 ## coverage of all packages by all tests, into bin/cover.out
	@mkdir -p bin
	go test -timeout $(TIMEOUT) $(only) -coverpkg=./... -coverprofile=bin/cover.out $(packages)
	go tool cover -func=bin/cover.out | tail -n 1

clean: ## remove what was built
	rm -rf bin

tools: bin/nats bin/nats-server-2.10 bin/golangci-lint bin/benchstat ## build what tests and linting use, at pinned versions

# Their modules are nested, and nobody imports them: see docs/adr/0001.
bin/nats: tools/nats/go.mod tools/nats/go.sum
	go -C tools/nats build -buildvcs=false -o ../../bin/nats github.com/nats-io/natscli/nats
	@touch $@

bin/nats-server-2.10: tools/nats210/go.mod tools/nats210/go.sum
	go -C tools/nats210 build -buildvcs=false -o ../../$@ github.com/nats-io/nats-server/v2
	@touch $@

bin/golangci-lint: tools/go.mod tools/go.sum
	go -C tools build -buildvcs=false -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@

bin/benchstat: tools/go.mod tools/go.sum
	go -C tools build -buildvcs=false -o ../bin/benchstat golang.org/x/perf/cmd/benchstat
	@touch $@

fmt: ## report files that gofmt would change
	@bad=$$(gofmt -l .); test -z "$$bad" || { echo "run gofmt -w on:"; echo "$$bad"; exit 1; }

tidy: ## report modules that go mod tidy would change
	@for m in $(modules); do echo "go -C $$m mod tidy -diff"; go -C $$m mod tidy -diff; done

# Generates into a copy of the tree, and compares.
generated: ## report files that go generate would change
	@copy=$$(mktemp -d); trap 'rm -rf "$$copy"' EXIT; \
	tar --exclude=./bin --exclude=./.git -cf - . | tar -xf - -C "$$copy"; \
	go -C "$$copy" generate ./...; \
	diff -r --exclude=bin --exclude=.git . "$$copy"
