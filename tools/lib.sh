# Shared by ./dev and the scripts in tools/ (POSIX sh). They run from the repository's root.
#
# `need_*` installs what is missing on a bare Debian 12, and costs a few milliseconds when nothing is.
# shellcheck shell=sh disable=SC2034  # the lists are used by those who source this

say() { printf '\n== %s\n' "$*"; }
die() {
    printf '*** %s\n' "$*" >&2
    exit 1
}

PKG_BUILD='gcc libc6-dev meson ninja-build pkg-config python3 libcmocka-dev libcurl4-openssl-dev
libcyaml-dev libhttp-parser-dev libjansson-dev libjemalloc-dev libmicrohttpd-dev librocksdb-dev
libsodium-dev libssl-dev libwslay-dev libxxhash-dev libyaml-dev libzstd-dev'
PKG_CLANG='clang libclang-rt-14-dev llvm-14'
PKG_E2E='python3-pytest python3-pytest-rerunfailures python3-pytest-xdist python3-paho-mqtt python3-requests mosquitto
mosquitto-clients procps'
PKG_CONSOLE='chromium fonts-dejavu-core mosquitto-clients'
PKG_LINT='clang-format clang-tidy cppcheck shellcheck'
PKG_BENCH='mosquitto mosquitto-clients openssl python3'
PKG_DEMO='python3 python3-paho-mqtt mosquitto-clients'

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        die "root is needed for: $*   (run it yourself, then try again)"
    fi
}

# need_packages NAME...: Debian packages; apt is asked only for those that are not installed.
need_packages() {
    command -v dpkg-query >/dev/null 2>&1 ||
        die "this is no Debian: install the equivalents of: $*"
    # shellcheck disable=SC2016  # the format is dpkg's
    installed=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' "$@" 2>/dev/null |
        sed -n 's/^ii *//p' | tr '\n' ' ')
    missing=
    for package in "$@"; do
        case " $installed " in
        *" $package "*) ;;
        *) missing="$missing $package" ;;
        esac
    done
    [ -n "$missing" ] || return 0
    say "installing packages:$missing"
    as_root apt-get -q -o Acquire::Retries=3 update || die 'apt-get update failed'
    # shellcheck disable=SC2086  # a list
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=3 \
        -o Dpkg::Use-Pty=0 install --no-install-recommends $missing </dev/null ||
        die "these packages could not be installed:$missing"
}

# Node 18 or newer with npm: what is there already (from wherever), else Debian's.
need_node() {
    if command -v npm >/dev/null 2>&1 &&
        node -e 'process.exit(parseInt(process.versions.node, 10) >= 18 ? 0 : 1)' 2>/dev/null; then
        return 0
    fi
    need_packages nodejs npm ca-certificates
}

# need_npm FOLDER: its node_modules match its package-lock.json.
need_npm() {
    need_node
    lock=$(sha256sum <"$1/package-lock.json")
    stamp=$1/node_modules/.tracemq-lock
    if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$lock" ]; then
        say "npm packages of $1"
        (cd "$1" && npm ci --no-audit --no-fund --loglevel=error </dev/null) ||
            die "npm ci failed in $1"
        printf '%s\n' "$lock" >"$stamp"
    fi
}

# Builds the web console into console/dist, unless it was built from these very sources.
build_console() {
    need_npm console
    sources=$(find console \( -name node_modules -o -name dist -o -name '.?*' \) -prune -o -type f -print |
        LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum)
    stamp=console/node_modules/.tracemq-built
    if [ -f console/dist/index.html ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$sources" ]; then
        return 0
    fi
    say 'web console'
    (cd console && npm run --silent build </dev/null) || die 'the web console does not build'
    printf '%s\n' "$sources" >"$stamp"
}

# build_c DIR [meson options]: the C programs into DIR; $only, if set, is the one that is wanted.
build_c() {
    dir=$1
    shift
    if [ ! -f "$dir/build.ninja" ]; then
        say "meson setup $dir"
        meson setup "$dir" "$@" >"$dir.setup.log" 2>&1 || {
            tail -n 15 "$dir.setup.log" >&2
            rm -f "$dir.setup.log"
            die "meson setup $dir failed"
        }
        rm -f "$dir.setup.log"
    fi
    quiet=--quiet
    [ ! -t 1 ] || quiet=
    # shellcheck disable=SC2086  # one word or none each
    ninja -C "$dir" $quiet ${only:-} || die "the build in $dir/ failed"
}

build_all() {
    # shellcheck disable=SC2086  # a list
    need_packages $PKG_BUILD
    build_console
    build_c build
}
