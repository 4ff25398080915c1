# Everything a newcomer needs; `make` lists it. PYTHON=python3.12 make setup picks the interpreter.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup quickstart train studio test test-fast test-browser lint format tensorboard

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Installed again when the dependencies change.
.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --editable '.[dev]'
	@touch $@

setup: .venv/installed ## install into .venv, and fetch VGG-16's weights
	$(BIN)/python scripts/fetch_vgg16.py

quickstart: setup ## sample photos and paintings, a network trained on them, a picture: minutes
	$(BIN)/python scripts/make_sample_data.py
	$(BIN)/polystyle-train experiment=quickstart
	$(BIN)/polystyle-stylize data/sample/photos/astronaut.jpg --model outputs/quickstart \
		--style all --output outputs/quickstart/painted --overwrite
	@echo "Now yours: $(BIN)/polystyle-train data.content_dir=PHOTOS data.style_dir=PAINTINGS"

train: setup ## train on data/photos and data/paintings; ARGS="trainer.max_steps=2000 ..."
	$(BIN)/polystyle-train data.content_dir=data/photos data.style_dir=data/paintings $(ARGS)

# Gradio and its browser tests' driver. Gradio may want an older Pillow than the newest.
.venv/studio: .venv/installed
	$(BIN)/pip install --disable-pip-version-check --editable '.[dev,studio,browser]'
	@touch $@

studio: .venv/studio ## a page on this machine to paint on; ARGS="--model outputs/monet ..."
	$(BIN)/polystyle-studio $(ARGS)

test: setup ## all tests: some seven minutes on two cores
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: setup ## the tests that are not marked slow: about a minute
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

test-browser: .venv/studio ## the studio in Chromium, which is installed where apt can: a minute
	sh tests/browser/install_chromium.sh
	$(BIN)/pytest tests/browser/studio_in_chromium.py -rs

lint: .venv/installed ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed ## mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

tensorboard: .venv/installed ## watch all runs at http://localhost:6006
	$(BIN)/tensorboard --logdir outputs
