# Sourced by the programs beside it.

# Install Debian packages, if this is root on a Debian; give up on fetching them after some seconds.
# Only fetching is cut short: an installation that is cut leaves packages half installed.
install_packages() {
    local seconds=$1
    shift
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    local install=(apt-get install -qq --yes --no-install-recommends)
    export DEBIAN_FRONTEND=noninteractive
    {
        timeout 15 apt-get update -qq &&
            timeout "$seconds" "${install[@]}" --download-only "$@" &&
            "${install[@]}" --no-download "$@"
    } </dev/null >/dev/null 2>&1
}
