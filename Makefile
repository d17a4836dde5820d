# Developer commands of HeterRec. `make help` lists the targets.
# Requires GNU make and Python 3.11 or newer; everything else is installed into .venv.

ifndef PYTHON
PYTHON := $(shell for p in python3.11 python3.12 python3.13 python3; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then echo $$p; break; fi; done)
endif
# Additional arguments of every install by pip and uv, for example --index-url of a mirror, whose files have the same hashes.
PIP_ARGS ?=
# An index with other builds of PyTorch, such as smaller ones without CUDA: torch alone comes from there, and its hash is not verified.
TORCH_INDEX ?=
# make lock: for example --upgrade, or --upgrade-package NAME; without either no version changes that need not.
LOCK_ARGS ?=
# make audit: for example --service osv
AUDIT_ARGS ?=
PYTEST_ARGS ?=
DEMO ?= .demo
# make posters: the folder of MovieLens latest-small, from grouplens.org/datasets/movielens, and where everything is written.
MOVIELENS ?= ml-latest-small
POSTERS ?= .posters
# make images: the registry in the image names, and additional arguments, for example --build-arg BASE=...
REGISTRY ?= localhost
IMAGE_ARGS ?=
IMAGES ?= worker launcher serving trainer
# make attack: how long, and where its random cases begin.
SECONDS ?= 3600
ifndef SEED
SEED := $(shell date +%s)
endif

VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements.lock
# Where this is set, as in many images, every Python process would compile all that it imports again: uv installs no bytecode.
unexport PYTHONDONTWRITEBYTECODE
# uv trusts the certificates that the system trusts. It does not read pip's settings, so it gets pip's index.
export UV_SYSTEM_CERTS ?= 1
UV := UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX-$${PIP_INDEX_URL-$$($(BIN)/python -m pip config get global.index-url 2>/dev/null)}}" $(BIN)/uv
VERSION = $(shell sed -n 's/^version = //p' setup.cfg)
MANIFESTS := setup.cfg pyproject.toml $(LOCK)
ENGINES := .engines
# Beam's Go programs, in the pinned version of Beam.
BEAM := $(shell sed -n 's/^apache-beam==\([^ ;]*\).*/\1/p' $(LOCK))
EXTRAS_env := pipeline,model,export,serve,study,dev
EXTRAS_demo := pipeline,model,export,serve,embed,demo
EXTRAS_posters := pipeline,model,embed,posters
EXTRAS_docs := pipeline,model,docs
EXTRAS_all := pipeline,gcp,model,export,serve,study,embed,demo,posters,docs,dev

comma := ,

# Shell code: install torch from TORCH_INDEX, if there is one, for a Python.
torch = if [ -n "$(TORCH_INDEX)" ]; then \
	echo "== torch from $(TORCH_INDEX), without verifying its hash"; \
	$(UV) pip install --quiet --python $(1) -c $(LOCK) --no-deps --no-verify-hashes --default-index $(TORCH_INDEX) torch; fi

.DEFAULT_GOAL := help
.PHONY: help env demo posters test lint check format docs schemas races views browser attack attack-service bench images digests engines lock audit licences wheel wheel-check clean
.DELETE_ON_ERROR:

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) \
		| awk -F ':.*## ' '{ printf "  make %-14s %s\n", $$1, $$2 }'
	@echo "Variables: PYTHON=$(PYTHON)  PIP_ARGS=$(PIP_ARGS)  TORCH_INDEX=$(TORCH_INDEX)  PYTEST_ARGS=$(PYTEST_ARGS)  DEMO=$(DEMO)"

env: $(VENV)/.installed-env ## create the development environment in .venv
	@echo "The environment is ready: $(BIN)/python"

demo: $(VENV)/.installed-demo ## run The Complete Journey end to end, from tables to recommendations
	@echo "== 1 of 11: preparing three tables of The Complete Journey in $(DEMO)/data"
	$(BIN)/python examples/complete_journey/prepare.py $(DEMO)/data
	@echo "== 2 of 11: embedding the product texts in $(DEMO)/data/embeddings"
	$(BIN)/heterrec-pipeline embed --input $(DEMO)/data --items items.parquet --key product_id \
		--text text --model all-MiniLM-L6-v2 --output $(DEMO)/data/embeddings
	@echo "== 3 of 11: building a generation from catalogue, vectors and purchases in $(DEMO)/out"
	$(BIN)/heterrec-pipeline build --spec examples/complete_journey/spec.yaml \
		--input $(DEMO)/data --output $(DEMO)/out
	@echo "== 4 of 11: inspecting the generation"
	$(BIN)/heterrec-pipeline inspect $(DEMO)/out
	@echo "== 5 of 11: training a small HeterRec in $(DEMO)/run"
	rm -rf $(DEMO)/run
	$(BIN)/heterrec-model train --data $(DEMO)/out --config examples/complete_journey/model.yaml --run $(DEMO)/run
	@echo "== 6 of 11: comparing its metrics with three counting baselines"
	$(BIN)/heterrec-model compare --data $(DEMO)/out --run $(DEMO)/run --against popular --against neighbours --against repeat
	@echo "== 7 of 11: recommending items to household 1"
	$(BIN)/heterrec-model recommend --data $(DEMO)/out --run $(DEMO)/run --user 1
	@echo "== 8 of 11: exporting a bundle to $(DEMO)/bundle, which needs neither PyTorch nor Beam"
	rm -rf $(DEMO)/bundle $(DEMO)/top
	$(BIN)/heterrec-model export --run $(DEMO)/run --data $(DEMO)/out --output $(DEMO)/bundle
	@echo "== 9 of 11: building and measuring its index"
	$(BIN)/heterrec-model index --bundle $(DEMO)/bundle
	@echo "== 10 of 11: recommending ten new items to every household, as Parquet files in $(DEMO)/top"
	$(BIN)/heterrec-model recommend --bundle $(DEMO)/bundle --users all --output $(DEMO)/top -k 10 --filter-seen
	@echo "== 11 of 11: asking its service over HTTP"
	$(BIN)/python examples/complete_journey/ask.py $(DEMO)/bundle 1
	@echo "To look at it in a browser: $(BIN)/heterrec-model serve --bundle $(DEMO)/bundle"
	@echo "For more details run: $(BIN)/heterrec-pipeline inspect $(DEMO)/out --item 1029743 --user 1"

POSTERS_TRAIN = $(BIN)/heterrec-model train --data $(POSTERS)/out --config examples/posters/model.yaml

posters: $(VENV)/.installed-posters ## pictures end to end: MovieLens with drawn posters, with and without their tokens
	@echo "== 1 of 7: drawing the posters of MovieLens in $(POSTERS)/data"
	$(BIN)/python examples/posters/prepare.py $(MOVIELENS) $(POSTERS)/data
	@echo "== 2 of 7: encoding them in $(POSTERS)/data/vectors"
	PYTHONPATH=examples/posters $(BIN)/heterrec-pipeline embed --input $(POSTERS)/data --items items.parquet \
		--key item_id --image picture --model lite_encoder:EfficientNetLite0 --output $(POSTERS)/data/vectors
	@echo "== 3 of 7: measuring how many neighbours their tokens keep"
	$(BIN)/heterrec-pipeline plan --spec examples/posters/spec.yaml --input $(POSTERS)/data --tune-tokens
	@echo "== 4 of 7: building a generation in $(POSTERS)/out"
	$(BIN)/heterrec-pipeline build --spec examples/posters/spec.yaml --input $(POSTERS)/data --output $(POSTERS)/out
	@echo "== 5 of 7: showing the neighbours of a few posters in $(POSTERS)/neighbours.png"
	$(BIN)/python examples/posters/neighbours.py $(POSTERS)/out $(POSTERS)/data $(POSTERS)/neighbours.png
	@echo "== 6 of 7: training a small HeterRec on ids, on ids and genres, and on ids and pictures, in $(POSTERS)/runs"
	rm -rf $(POSTERS)/runs
	$(POSTERS_TRAIN) --run $(POSTERS)/runs/ids --set model.features=[]
	$(POSTERS_TRAIN) --run $(POSTERS)/runs/genres --set model.features=[genre,year]
	$(POSTERS_TRAIN) --run $(POSTERS)/runs/pictures --set model.features=[picture]
	@echo "== 7 of 7: comparing pictures with the others on the test split"
	$(BIN)/heterrec-model compare --data $(POSTERS)/out --run $(POSTERS)/runs/pictures \
		--against $(POSTERS)/runs/ids --against $(POSTERS)/runs/genres --against popular

test: $(VENV)/.installed-all ## create the environment and run all tests
	$(BIN)/python -m pytest -q $(PYTEST_ARGS)

lint: $(VENV)/.installed-all ## run linter, format check, type check and import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test ## all that has to pass: lint, then test; with make -j2 beside each other

format: $(VENV)/.installed-env ## format the code and apply ruff's fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-docs ## build the site of docs/ in build/site; warnings, such as broken links, are errors
	$(BIN)/python site/assemble.py build/site_pages
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --config-file site/mkdocs.yml
	@echo "The site is ready. Open build/site/index.html; search needs: $(BIN)/python -m http.server --directory build/site"

schemas: $(VENV)/.installed-env ## regenerate the published JSON Schemas
	$(BIN)/python -m heterrec_schemas.publish_schemas

races: $(VENV)/.installed-all ## run and cut off refresh, publish, purge and others in many orders; 20 refreshes in a row
	HETERREC_RACES=100 HETERREC_REFRESHES=20 $(BIN)/python -m pytest -q tests/pipeline/keeping/test_races.py \
		tests/pipeline/stores/test_keeping_in_stores.py \
		tests/pipeline/test_power_cut.py tests/pipeline/test_long_chain.py $(PYTEST_ARGS)

views: $(VENV)/.installed-env ## read the views with datasets, RecTools and RecBole, each in an environment in .views
	@for library in huggingface rectools recbole; do \
		echo "== installing .views/$$library"; \
		$(UV) venv --quiet --clear --python $(BIN)/python .views/$$library || exit 1; \
		$(UV) pip install --quiet --python .views/$$library/bin/python -r tests/schemas/views/$$library.txt || exit 1; \
	done
	HETERREC_VIEWS=$(CURDIR)/.views $(BIN)/python -m pytest -q tests/schemas/views $(PYTEST_ARGS)

browser: $(VENV)/.installed-env ## test the pages in Chromium (on Debian: apt install chromium)
	@command -v chromium chromium-browser google-chrome >/dev/null || { \
		echo "Chromium was not found. On Debian: apt install chromium"; exit 1; }
	$(BIN)/python -m pytest -q tests/model/service/test_page.py tests/model/reporting/test_report_in_browser.py \
		tests/pipeline/report -m browser $(PYTEST_ARGS)

attack: $(VENV)/.installed-all ## attack everything for an hour: make attack SECONDS=3600 SEED=17 (a new seed without it)
	@echo "The seed of this attack: $(SEED)"
	HETERREC_ATTACK=$(SECONDS) HETERREC_ATTACK_SEED=$(SEED) $(BIN)/python -m pytest -q -n 2 --dist worksteal \
		tests/attack $(PYTEST_ARGS)

attack-service: $(VENV)/.installed-env ## attack a service: make attack-service BUNDLE=A OTHER=B, bundles of two checkpoints of one generation
	$(BIN)/python benchmarks/serving_attack.py --bundle $(BUNDLE) --other $(OTHER)

bench: $(VENV)/.installed-env ## benchmark the pipeline: against a Polars script and tensorflow-transform, and scaling
	$(BIN)/python benchmarks/pipeline_vs_polars.py
	$(BIN)/python benchmarks/scaling.py --repeats 1
	@if [ -n "$(TFT_PYTHON)" ]; then $(BIN)/python benchmarks/pipeline_vs_tft.py --tft-python $(TFT_PYTHON); \
	else echo "Skipped tensorflow-transform. To include it: make bench TFT_PYTHON=its-environment/bin/python"; fi

images: ## build the images of Dataflow's workers and launcher, of the service and of training, with docker or buildah
	@if docker info >/dev/null 2>&1; then builder="docker build"; \
	elif command -v buildah >/dev/null; then builder="buildah build --layers --format docker"; \
	else echo "Found neither a running docker nor buildah. On Debian: apt install buildah"; exit 1; fi; \
	$(PYTHON) docker/digests.py --check; \
	for target in $(IMAGES); do \
		image=$(REGISTRY)/heterrec-$$target:$(VERSION); \
		echo "== building $$image with $${builder%% *}"; \
		$$builder --target $$target --tag $$image --file docker/Dockerfile $(IMAGE_ARGS) . || exit 1; \
	done

digests: ## pin the base images in docker/Dockerfile by digest (needs docker, skopeo or crane, and the registries)
	$(PYTHON) docker/digests.py

engines: $(ENGINES)/beam-$(BEAM) $(ENGINES)/boot.sh ## build Prism and the worker's boot program for the tests marked engine (needs Go)

$(ENGINES)/beam-$(BEAM): engines/build.sh
	@command -v go >/dev/null || { \
		echo "Go was not found. It is needed to build Prism and the boot program of workers. Install Go 1.26 or newer:"; \
		echo "https://go.dev/doc/install. Without them the tests that need Prism are skipped."; exit 1; }
	@echo "== building Prism and the boot program of Beam $(BEAM) in $(ENGINES)"
	$< $(BEAM) $(ENGINES)
	@touch $@

$(ENGINES)/boot.sh: engines/boot.sh
	mkdir -p $(ENGINES)
	install -m 755 $< $@

lock: $(BIN)/uv ## write requirements.lock anew, with hashes: make lock LOCK_ARGS="--upgrade-package NAME"
	@mkdir -p build
	cp $(LOCK) build/$(LOCK)
	env -u UV_INDEX -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS $(UV) pip compile --no-config --quiet --universal \
		--python-version 3.11 --generate-hashes --no-annotate --no-header --build-constraints $(LOCK) $(LOCK_ARGS) \
		$(foreach extra,$(subst $(comma), ,$(EXTRAS_all)),--extra $(extra)) --output-file build/$(LOCK) setup.cfg
	@{ sed -n '/^#/p' $(LOCK); sed '/^#/d' build/$(LOCK); } > build/$(LOCK).new
	mv build/$(LOCK).new $(LOCK)

audit: $(VENV)/.installed-env ## look up known vulnerabilities of the versions in requirements.lock
	$(BIN)/python dependencies/audit.py $(AUDIT_ARGS)

licences: $(VENV)/.installed-all ## check the licences of the versions in requirements.lock; their bill of materials in build
	$(BIN)/python dependencies/licences.py

wheel: $(BIN)/uv ## build a wheel and an sdist in dist
	rm -rf build/lib dist
	$(UV) build --quiet --out-dir dist

# Nothing is read from the checkout but the lock and the check's own files.
wheel-check: wheel ## install the wheel in clean environments in build/wheel_check: a build, a training, an answer of its bundle
	@for extras in pipeline model,export serve; do \
		folder=build/wheel_check/$${extras%%,*}; \
		echo "== installing the wheel with [$$extras] in $$folder"; \
		$(UV) venv --quiet --clear --python $(BIN)/python $$folder || exit 1; \
		case $$extras in model*) $(call torch,$$folder/bin/python) || exit 1;; esac; \
		$(UV) pip install $(PIP_ARGS) --quiet --python $$folder/bin/python -c $(LOCK) --build-constraints $(LOCK) \
			"heterrec[$$extras] @ file://$$(ls $(CURDIR)/dist/*.whl)" || exit 1; \
	done
	$(BIN)/python dependencies/wheel_check.py build/wheel_check

clean: ## remove the environment, engines, demo output and caches
	rm -rf $(VENV) .views $(ENGINES) $(DEMO) $(POSTERS) build dist *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Found no Python 3.11 or newer. Install it, or specify it: make PYTHON=..."; exit 1; }
	@echo "== creating $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot create virtual environments. On Debian: apt install python3-venv"; exit 1; }

# Verifies the hashes in the lock, which pip cannot do for an editable package.
$(BIN)/uv: dependencies/uv.txt | $(BIN)/python
	$(BIN)/python -m pip install $(PIP_ARGS) --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# One stamp file per set of extras; the full set also satisfies the smaller ones.
$(VENV)/.installed-%: $(MANIFESTS) $(BIN)/uv
	@echo "== installing heterrec[$(EXTRAS_$*)] with the versions of $(LOCK)"
	@$(call torch,$(BIN)/python)
	@$(UV) pip install $(PIP_ARGS) --quiet --python $(BIN)/python \
		-c $(LOCK) --build-constraints $(LOCK) -e '.[$(EXTRAS_$*)]'
	@touch $@
	@if [ $* = all ]; then touch $(VENV)/.installed-env $(VENV)/.installed-demo \
		$(VENV)/.installed-posters $(VENV)/.installed-docs; fi
