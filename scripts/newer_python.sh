#!/usr/bin/env bash
# Put newer CPythons beside the system's, without touching it (Debian only, no root needed):
#
#   scripts/newer_python.sh DIR VERSION...      e.g. scripts/newer_python.sh .cache/pythons 3.14
#
# DIR/python3.14 then is an interpreter. The packages come from Debian's "testing" suite, through
# the mirror that this machine's apt is set up for, and are unpacked into DIR, never installed.
# They need a newer C library than the system's, so each interpreter is started by the C library's
# own loader, out of a small wrapper that passes itself on as the interpreter's name: subprocesses,
# sys.executable and sys.prefix then come out right. Exits 1 when a version cannot be had.
set -euo pipefail

say() { printf 'newer_python: %s\n' "$*" >&2; }

[ $# -ge 2 ] || { say "usage: newer_python.sh DIR VERSION..."; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd)
shift

# The system may be a derivative, whose mirrors hold no "testing".
grep -qs '^ID=debian$' /etc/os-release || { say "this is not Debian"; exit 1; }

# A working interpreter of an earlier run is kept.
wanted=()
for version in "$@"; do
    "$dir/python$version" -c '' 2>/dev/null || wanted+=("$version")
done
[ ${#wanted[@]} -gt 0 ] || exit 0

work=$dir/apt root=$dir/root
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$root"
trap 'rm -rf "$work"' EXIT

# The first source that this machine knows, with the suite replaced; its signing key stays.
if [ -s /etc/apt/sources.list.d/debian.sources ]; then
    sed -e '/^#/d' -e '/^$/q' -e 's/^Suites:.*/Suites: testing/' -e 's/^Types:.*/Types: deb/' \
        /etc/apt/sources.list.d/debian.sources >"$work/testing.sources"
    sources=$work/testing.sources
else
    awk '$1 == "deb" { print "deb", $2, "testing main"; exit }' \
        /etc/apt/sources.list >"$work/testing.list"
    sources=$work/testing.list
fi

apt() {
    # An empty status file: every dependency, the C library included, is to be fetched.
    apt-get -qq -y \
        -o "Dir::State=$work/state" -o Dir::State::status=/dev/null -o "Dir::Cache=$work/cache" \
        -o "Dir::Etc::SourceList=$sources" -o Dir::Etc::SourceParts=/dev/null \
        -o "APT::Sandbox::User=$(id -un)" -o Acquire::Retries=2 -o Acquire::Languages=none "$@"
}

apt update
packages=()
for version in "${wanted[@]}"; do
    packages+=("python$version-minimal" "libpython$version-stdlib")
done
apt install --download-only --no-install-recommends "${packages[@]}" >/dev/null
for package in "$work"/cache/archives/*.deb; do
    dpkg-deb --extract "$package" "$root"
done

loader=$(find "$root" -name 'ld-linux*.so.*' | head -n 1)
libraries=$(dirname "$(find "$root" -name 'libc.so.6' | head -n 1)")
[ -n "$loader" ] || { say "the C library's loader was not found"; exit 1; }

for version in "${wanted[@]}"; do
    program=$root/usr/bin/python$version
    mkdir -p "$root/usr/libexec"
    mv "$program" "$root/usr/libexec/python$version"
    cat >"$program" <<WRAPPER
#!/bin/sh
exec '$loader' --library-path '$libraries' --argv0 '$program' '$root/usr/libexec/python$version' "\$@"
WRAPPER
    chmod +x "$program"
    ln -sfn "root/usr/bin/python$version" "$dir/python$version"
    "$dir/python$version" -c 'import ctypes, ssl, zlib' || { say "$version does not run"; exit 1; }
    say "$("$dir/python$version" -c 'import sys; print(sys.executable, sys.version.split()[0])')"
done
