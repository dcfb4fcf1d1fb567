# MCPermit: build, run, test. `make help` lists what there is.

BIN     := $(CURDIR)/bin
TOOLS   := $(CURDIR)/.bin
GO      ?= go
# Two at a time: linking OPA needs memory.
GOFLAGS += -p=2
export GOFLAGS

BUF           := $(TOOLS)/buf
BUF_VERSION   := v1.75.0
GOFUMPT       := $(TOOLS)/gofumpt
GOFUMPT_VERSION := v0.12.0
LINT          := $(TOOLS)/golangci-lint
LINT_VERSION  := v2.15.0
OPA           := $(GO) tool opa

.PHONY: help
help: ## show this
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build the programs into bin/
	@mkdir -p $(BIN)
	$(GO) build -o $(BIN)/ ./cmd/...

.PHONY: run
run: build ## start everything with the example, and print what to try
	@bundles/example/run.sh

.PHONY: test
test: ## everything: unit, race, fuzz, policies, real clients and servers
	@test/run.sh

.PHONY: check
check: generate format lint test ## generate, format, lint, test; fails on a dirty tree
	@test -z "$$(git status --porcelain)" || { git status --short; echo "the tree is dirty: commit what generate and format changed"; exit 1; }

.PHONY: bench
bench: build ## the proxy beside a plain reverse proxy and no proxy; calls with quotas beside calls without
	$(GO) run ./test/bench
	$(GO) test -run none -bench Decisions -benchtime 15000x ./test/quotas

.PHONY: generate
generate: $(BUF) ## proto → Go
	$(BUF) generate --template proto/buf.gen.yaml

.PHONY: format
format: $(GOFUMPT) $(BUF) ## format Go, Rego and proto
	$(GOFUMPT) -l -w cmd pdp pep test rego
	$(OPA) fmt -w rego bundles
	$(BUF) format -w

.PHONY: lint
lint: $(LINT) $(BUF) ## golangci-lint, buf lint, opa check
	$(LINT) run --allow-parallel-runners
	$(BUF) lint
	$(OPA) fmt --fail -l rego bundles
	$(OPA) check --strict --schema rego/schemas rego bundles

.PHONY: clean
clean: ## remove what was built
	rm -rf $(BIN)

# Tools are built from the module proxy, once for each version.

$(BUF): $(TOOLS)/.buf-$(BUF_VERSION)
$(TOOLS)/.buf-$(BUF_VERSION):
	GOFLAGS=-p=2 GOBIN=$(TOOLS) $(GO) install github.com/bufbuild/buf/cmd/buf@$(BUF_VERSION)
	@touch $@

$(GOFUMPT): $(TOOLS)/.gofumpt-$(GOFUMPT_VERSION)
$(TOOLS)/.gofumpt-$(GOFUMPT_VERSION):
	GOFLAGS=-p=2 GOBIN=$(TOOLS) $(GO) install mvdan.cc/gofumpt@$(GOFUMPT_VERSION)
	@touch $@

$(LINT): $(TOOLS)/.golangci-lint-$(LINT_VERSION)
$(TOOLS)/.golangci-lint-$(LINT_VERSION):
	GOFLAGS=-p=2 GOBIN=$(TOOLS) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	@touch $@
