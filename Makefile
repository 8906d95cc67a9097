# Everything runs in one virtual environment, made on first use and kept until its inputs change.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/ready

.PHONY: quickstart test check bench bench-distillation bench-bisecting intervals verdicts measuring clean

quickstart: $(READY)            ## distil, quantize, compile, verify and release the digits preset
	$(BIN)/edgestill run digits

test: $(READY)                  ## run the tests
	$(BIN)/pytest -n 2 --dist loadgroup

check: $(READY) build/types     ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy build/types/edgestill

bench: $(READY)                 ## print the numbers of the README and write bench.json
	$(BIN)/python tests/benchmarks/spine.py --json bench.json

intervals: $(READY)             ## simulate how often intervals cover the truth, and verdicts err; goes on where it was
	$(BIN)/python tests/benchmarks/verdicts_coverage.py
	$(BIN)/python tests/benchmarks/verdicts_looks.py

verdicts: $(READY)              ## compare engines of a known truth again and again; takes hours, goes on where it was
	$(BIN)/python tests/benchmarks/verdicts.py $(TRIALS)

measuring: $(READY)             ## hold the timing loop to its bounds, beside OpenVINO's benchmark_app
	$(BIN)/python tests/benchmarks/measuring.py --json measuring.json

bench-distillation: $(READY)    ## what distillation costs and is worth; needs CIFAR-10, takes an hour, goes on where it was
	$(BIN)/python tests/benchmarks/teacher_cache.py --json teacher_cache.json
	$(BIN)/python tests/benchmarks/distillation_speed.py --json distillation_speed.json
	$(BIN)/python tests/benchmarks/distillation_schemes.py --store build/schemes --json distillation_schemes.json

bench-bisecting: $(READY)       ## plant a wrong layer in networks of 50, at every position, and look for it
	$(BIN)/python tests/benchmarks/bisecting.py --json bisecting.json

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-e '.[build,onnxruntime,openvino,tensorrt-rtx,transformers,dev]'
	$(BIN)/python -m compileall -q pipeline targets # as pip does for all but an editable install
	touch $(READY)

# The folders are named pipeline/ and targets/ but import as edgestill: mypy needs them by that name.
.PHONY: build/types
build/types:
	rm -rf build/types && mkdir -p build/types/edgestill
	cd build/types/edgestill && ln -s ../../../pipeline/* . && ln -s ../../../targets targets

clean:
	rm -rf $(VENV) build dist .edgestill *.egg-info
