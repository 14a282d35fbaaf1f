# Sourced by the programs beside it. Makes `.venv` under the checkout the Python environment.
#
# Owns the choice of the interpreter, the virtual environment and what is installed into it. Works
# where pip must not touch the system (PEP 668), and leaves no file outside the checkout: pip's
# cache is off, temporary files go below `.venv`.

# Print a complaint on stderr, and end.
fail() {
    printf '%s: %s\n' "$(basename "$0")" "$1" >&2
    exit 1
}

# Print the first interpreter on the PATH that is new enough.
find_python() {
    local name
    for name in python3 python3.11 python3.12 python3.13 python3.14 python; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    fail 'no Python 3.11 or newer on the PATH: install one, e.g. `apt install python3.11`'
}

# Make the virtual environment, with a pip in it, unless it is there and works.
make_environment() {
    if .venv/bin/python -m pip --version >/dev/null 2>&1; then
        return
    fi
    rm -rf .venv
    local python
    python=$(find_python)
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv .venv
    elif "$python" -m pip --version >/dev/null 2>&1; then
        # Debian splits ensurepip off. A system pip can install one into the environment.
        "$python" -m venv --without-pip .venv
        "$python" -m pip --python .venv/bin/python install -qq --no-cache-dir pip
    else
        fail "$python can make no virtual environment: install its venv module, e.g. \`apt install python3-venv\`"
    fi
}

# use_environment EXTRAS: install the project with those extras ("" for none) and activate it.
# What was installed from the same pyproject.toml before is not installed again.
use_environment() {
    export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_REQUIRE_VIRTUALENV=1
    unset PYTHONPATH PYTHONHOME
    make_environment
    export TMPDIR="$PWD/.venv/tmp"
    mkdir -p "$TMPDIR"
    local stamp=".venv/installed${1:+-$1}"
    if ! cmp -s pyproject.toml "$stamp"; then
        printf 'Installing into %s\n' "$PWD/.venv"
        .venv/bin/python -m pip install -qq --editable ".${1:+[$1]}" ||
            fail 'the installation failed: see above; it needs a package index that pip can reach'
        cp pyproject.toml "$stamp"
    fi
    export PATH="$PWD/.venv/bin:$PATH"
}
