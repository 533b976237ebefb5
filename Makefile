# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0

SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -e -o pipefail -c

PYTHON ?= python3
VENV := .venv
SETUP_STAMP := $(VENV)/.setup-stamp
TEST_STAMP := $(VENV)/.test-stamp
MSGS_STAMP := install/.messages-stamp
MSGS_SOURCES := $(shell find roborefer_msgs roborefer_ros/ros_compat/tf2_msgs -type f)
ENV := . scripts/env.sh
PYTEST_ARGS ?=
# Test processes side by side. Each file stays in one process, which shares its servers and graphs.
TEST_JOBS ?= auto
DEMO_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup msgs demo demo-arm test test-fast lint typecheck bench clean distclean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(SETUP_STAMP) $(MSGS_STAMP) ## make the environment and build the messages (once; 2 to 10 minutes)

$(SETUP_STAMP): requirements/torch.txt requirements/images.txt requirements/core.txt requirements/ros-kilted.txt setup.py setup.cfg scripts/setup_environment.py
	@$(PYTHON) scripts/setup_environment.py --only packages
	touch $@

$(TEST_STAMP): $(SETUP_STAMP) requirements/dev.txt
	@$(PYTHON) scripts/setup_environment.py --only test-tools
	touch $@

$(MSGS_STAMP): $(SETUP_STAMP) $(MSGS_SOURCES)
	@$(PYTHON) scripts/setup_environment.py --only messages
	touch $@

msgs: ## build roborefer_msgs again
	@rm -f $(MSGS_STAMP)
	$(MAKE) --no-print-directory $(MSGS_STAMP)

demo: setup ## the whole chain on this machine: simulated camera, model, action, picture
	@$(ENV)
	roborefer demo $(DEMO_ARGS)

demo-arm: setup $(TEST_STAMP) ## the simulated arm picks and places: a recording in out/arm.gif
	@$(ENV)
	python -m roborefer_ros.arm.robot || echo "without the Panda: a plain gripper"
	python -m roborefer_ros.arm.recording $(DEMO_ARGS)

test: setup $(TEST_STAMP) ## lint, types and all tests
	@$(ENV)
	# All of it runs even when the first fails; a missing ROS 2 fails the tests instead of skipping.
	status=0
	ruff check . || status=1
	ruff format --check . || status=1
	mypy || status=1
	ROBOREFER_REQUIRE_ROS=1 python -m pytest -n $(TEST_JOBS) --dist loadfile $(PYTEST_ARGS) || status=$$?
	exit $$status

test-fast: setup $(TEST_STAMP) ## the unit tests: no ROS graph, no server
	@$(ENV)
	python -m pytest -n $(TEST_JOBS) --dist loadfile $(PYTEST_ARGS) test/unit

lint: setup $(TEST_STAMP) ## ruff
	@$(ENV)
	ruff check .
	ruff format --check .

typecheck: setup $(TEST_STAMP) ## mypy
	@$(ENV)
	mypy

bench: setup $(TEST_STAMP) ## the benchmarks that need no GPU
	@$(ENV)
	for command in "parity test/data/golden" "lifting test/data/rgbd" demo_brain model_stages \
	    node_overhead node_idle_cpu node_memory server evaluation; do
	  echo "== python -m benchmarks.$$command"
	  python -m benchmarks.$$command
	done

clean: ## remove what the builds and tests made
	rm -rf build install log dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## remove the environment as well
	rm -rf $(VENV)
