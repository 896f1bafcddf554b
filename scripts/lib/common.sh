# shellcheck shell=bash
# What the scripts share. Sourced, never run: the caller has set -euo pipefail.

# shellcheck disable=SC2034  # read by the scripts that source this file
project_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# Everything generated or downloaded lives here, so that the tree stays clean.
millrace_home=${MILLRACE_HOME:-${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/millrace}

program=${0##*/}

say() {
    printf '%s: %s\n' "$program" "$*" >&2
}

die() {
    say "error: $*"
    exit 1
}

# with_lock NAME COMMAND… : runs COMMAND while no other process holds NAME.
# The lock goes with its file descriptor, so a killed holder leaves none behind.
with_lock() {
    local lock="$millrace_home/locks/$1" fd
    shift
    mkdir -p "${lock%/*}"
    exec {fd}>"$lock"
    if ! flock -n "$fd"; then
        say "waiting for another run that holds $lock"
        flock "$fd"
    fi
    "$@"
    exec {fd}>&-
}

# logged TITLE LOG COMMAND… : one progress line; the output goes to LOG, whose
# tail is shown when COMMAND fails.
logged() {
    local title=$1 log=$2 started=$SECONDS
    shift 2
    mkdir -p "${log%/*}"
    say "$title …"
    if ! "$@" </dev/null >"$log" 2>&1; then
        tail -n 25 "$log" | sed 's/^/    /' >&2
        die "$title failed; the whole output is in $log"
    fi
    say "$title: done in $((SECONDS - started)) s"
}

# text_hash [FILE…] : a short name for what the files, or else stdin, contain.
text_hash() {
    cat -- "$@" | sha256sum | cut -c1-12
}

# link_to TARGET LINK : LINK points at TARGET from one instant to the next.
link_to() {
    [[ $(readlink "$2" 2>/dev/null) != "$1" ]] || return 0
    ln -sfn "$1" "$2.$$"
    mv -T "$2.$$" "$2"
}
