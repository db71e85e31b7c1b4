# Patchbay's tasks. `make demo` shows the whole job, `make test` proves it.

BIN := .build/release
DEMO := .build/demo
MODEL := examples/demo-model

.PHONY: all setup setup-tests build demo install uninstall dist man sessions test bench \
  bench-transformerlens fuzz lint format clean

all: build

# OpenBLAS, LZ4 and libcurl, found by linking against them, so that any installation counts.
setup:
	@command -v swift >/dev/null || { \
	  echo "Patchbay needs Swift 6.2 or newer: https://www.swift.org/install" >&2; exit 1; }
	@if ! $(LINKS); then \
	  if command -v apt-get >/dev/null; then \
	    echo "installing libopenblas-dev, liblz4-dev and libcurl4-openssl-dev"; \
	    $(SUDO) apt-get update -qq && \
	    $(SUDO) apt-get install -y -qq --no-install-recommends \
	      libopenblas-dev liblz4-dev libcurl4-openssl-dev; \
	  else \
	    echo "Patchbay needs OpenBLAS, LZ4 and libcurl with their headers (cblas.h, lz4.h," \
	      "curl/curl.h); install your system's packages, such as openblas-devel, lz4-devel and" \
	      "libcurl-devel" >&2; exit 1; \
	  fi; \
	fi

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
LINKS = printf '\#include <cblas.h>\n\#include <lz4.h>\n\#include <curl/curl.h>\nint main(void) { \
  return openblas_get_num_threads() + LZ4_versionNumber() == 0 || !curl_version(); }' \
  | $$(command -v clang || command -v cc) -x c - -lopenblas -llz4 -lcurl -o /dev/null 2>/dev/null

build: setup
	swift build -c release --static-swift-stdlib

demo: build
	rm -rf $(DEMO)
	mkdir -p $(DEMO)
	$(BIN)/capture --model $(MODEL) --prompts examples/ioi.txt --out $(DEMO)/cache
	$(BIN)/analyze patch --cache $(DEMO)/cache --hooks resid_pre,z --top 4
	$(BIN)/cachedump $(DEMO)/cache

# The commands, their manual pages and completions, and a folder of examples, pages and tools in which
# every relative link holds. BUILD= installs the commands of $(BIN) as they are; PREFIX= is a tree of
# its own.
PREFIX := /usr/local
BUILD := build
PROGRAMS := capture analyze cachedump
VERSION := $(shell sed -n 's/^public let toolVersion = "patchbay \(.*\)"/\1/p' \
  Sources/Terminal/RunCommand.swift)
TREE := $(DESTDIR)$(PREFIX)
BASH_COMPLETIONS := $(TREE)/share/bash-completion/completions
ZSH_COMPLETIONS := $(TREE)/share/zsh/site-functions
FISH_COMPLETIONS := $(TREE)/share/fish/vendor_completions.d
SHARED := LICENSE README.md CONTRIBUTING.md docs examples tools

install: $(BUILD)
	install -d "$(TREE)/bin" "$(TREE)/share/man/man1" "$(TREE)/share/patchbay" \
	  "$(BASH_COMPLETIONS)" "$(ZSH_COMPLETIONS)" "$(FISH_COMPLETIONS)"
	@for program in $(PROGRAMS); do \
	  complete="$(BIN)/$$program --generate-completion-script"; \
	  install -s $(BIN)/$$program "$(TREE)/bin" && \
	  $$complete bash > "$(BASH_COMPLETIONS)/$$program" && \
	  $$complete zsh > "$(ZSH_COMPLETIONS)/_$$program" && \
	  $$complete fish > "$(FISH_COMPLETIONS)/$$program.fish" || exit 1; \
	done
	install -m 644 docs/man/*.1 "$(TREE)/share/man/man1"
	@find $(SHARED) -type f ! -path 'docs/man/*' ! -path '*/__pycache__/*' ! -path '*.egg-info/*' \
	  -exec install -D -m 644 {} "$(TREE)/share/patchbay/{}" \;

uninstall:
	@for program in $(PROGRAMS); do \
	  rm -f "$(TREE)/bin/$$program" "$(BASH_COMPLETIONS)/$$program" \
	    "$(ZSH_COMPLETIONS)/_$$program" "$(FISH_COMPLETIONS)/$$program.fish"; \
	done
	@for page in docs/man/*.1; do rm -f "$(TREE)/share/man/man1/$${page##*/}"; done
	rm -rf "$(TREE)/share/patchbay"

# The same tree as one file, for machines without Swift: the same bytes from the same commit and
# commands.
DIST = patchbay-$(VERSION)-linux-$(shell uname -m)
STAGE = $(CURDIR)/.build-dist/$(DIST)
dist: $(BUILD)
	rm -rf .build-dist
	$(MAKE) --no-print-directory install BUILD= PREFIX= DESTDIR="$(STAGE)"
	ln -s share/patchbay/README.md share/patchbay/LICENSE "$(STAGE)"
	chmod -R u=rwX,go=rX "$(STAGE)"
	tar --create --directory .build-dist --format ustar --sort name --owner 0 --group 0 \
	  --numeric-owner --mtime "@$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct)}" $(DIST) \
	  | gzip -9n > $(DIST).tar.gz
	rm -rf .build-dist
	@du -h $(DIST).tar.gz

# Manual pages, from what the commands say of themselves. The tests ask whether they are up to date.
man: $(BUILD)
	python3 tools/man_pages.py --bin $(BIN)

# Runs the sessions of README.md and docs/cookbook.md, and puts in what is printed now where it differs.
sessions: $(BUILD)
	python3 tools/sessions.py --bin $(BIN) --write

# The Python reader's tests need an interpreter with numpy and lz4.
setup-tests:
	@for python in python3 /usr/bin/python3; do \
	  $$python -c 'import numpy, lz4.block' 2>/dev/null && exit 0; \
	done; \
	if command -v apt-get >/dev/null; then \
	  echo "installing python3-numpy and python3-lz4"; \
	  $(SUDO) apt-get update -qq && \
	  $(SUDO) apt-get install -y -qq --no-install-recommends python3 python3-numpy python3-lz4; \
	else \
	  echo "the tests need python3 with numpy and lz4: pip install numpy lz4" >&2; exit 1; \
	fi

# In a folder of its own: tests are compiled otherwise than the products, and in the same folder each
# build would undo the other. They run the commands that they build there.
test: setup setup-tests
	swift test -c release --scratch-path .build-test

# Our own figures beside what the machine could do at most. OpenBLAS chooses its kernels itself.
BENCH := env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE
bench: build
	$(BIN)/patchbay-bench store
	$(BIN)/patchbay-bench disk --directory .build
	$(BENCH) $(BIN)/patchbay-bench products
	rm -rf $(DEMO)
	mkdir -p $(DEMO)
	$(BENCH) $(BIN)/capture --quiet --model $(MODEL) --prompts examples/ioi.txt --out $(DEMO)/cache
	$(BIN)/patchbay-bench hooks --cache $(DEMO)/cache
	cut -s -f1 examples/ioi.txt > $(DEMO)/prompts.txt
	$(BENCH) $(BIN)/patchbay-bench pass --model $(MODEL) --prompts $(DEMO)/prompts.txt

# Capture and sweeps beside TransformerLens on a random model of GPT-2 small's size.
bench-transformerlens: build
	$(BENCH) python3 tools/compare_transformerlens.py --size gpt2-small --part times --part sweeps \
	  --weights transformerlens --direction denoise --repeats 3

# Reads changed caches under libFuzzer and AddressSanitizer: `make fuzz FUZZ_SECONDS=3600`. Inputs that
# found something are in Fuzz/Finds, and run first; Fuzz/Corpus is where it begins. Of two sanitizers
# the Swift compiler would forget the fuzzer's coverage, so that it is asked for by name. Objects that
# live as long as the process are no leaks.
FUZZ_SECONDS := 60
FUZZ := PATCHBAY_FUZZ_CACHE=Tests/CacheFormatTests/Golden/format-4-f32 \
  .build-fuzz/release/FuzzReader -detect_leaks=0
FUZZ_COVERAGE := edge,indirect-calls,trace-cmp,inline-8bit-counters,pc-table
fuzz:
	swift build --package-path Fuzz --scratch-path .build-fuzz -c release \
	  --sanitize fuzzer --sanitize address -Xswiftc -sanitize-coverage=$(FUZZ_COVERAGE)
	@for find in $$(ls Fuzz/Finds 2>/dev/null); do $(FUZZ) Fuzz/Finds/$$find || exit 1; done
	mkdir -p .build-fuzz/corpus
	$(FUZZ) -max_len=64 -rss_limit_mb=2048 -max_total_time=$(FUZZ_SECONDS) \
	  -artifact_prefix=.build-fuzz/find- .build-fuzz/corpus Fuzz/Corpus

lint:
	swift format lint --strict -r Sources Tests Package.swift Fuzz/Package.swift Fuzz/Sources

format:
	swift format -i -r Sources Tests Package.swift Fuzz/Package.swift Fuzz/Sources

clean:
	rm -rf .build .build-test .build-fuzz
