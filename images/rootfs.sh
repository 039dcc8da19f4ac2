#!/usr/bin/env bash
# Fills a directory with one layer of an image: files and the shared libraries that they need, where Debian has them, with
# the package records and licences that scanners and people look for. What lies in a layer below is left out.
#
# usage: images/rootfs.sh DIR [--below DIR]… [--system] [--program FILE] [--library FILE] [--libraries-of FILE] [--zones]
#        [--sbom IMAGE VERSION]
#   --system            certificates, users, a place for temporary files
#   --program FILE      goes to /usr/bin
#   --library FILE      goes to /usr/lib, stripped, with what it needs
#   --libraries-of FILE the libraries that it needs, but not itself (a program as linked for this machine)
#   --zones             Debian's time zones, without the two variants that count leap seconds otherwise
#   --sbom IMAGE VERSION what the layers below and this one hold, to /usr/share/sbom and beside the archive; last
# Beside DIR, DIR.made says that it is whole.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$1
shift
below=()
rm -rf "$root" "$root.made"
mkdir -p "$root"

# lib, bin and the like are links into /usr, as in Debian; every layer's files are written below /usr.
place() { # path on this machine → path in the image
    case $1 in /lib/* | /lib64/* | /bin/* | /sbin/*) echo "/usr$1" ;; *) echo "$1" ;; esac
}

present() { # is this path of the image in a layer below?
    local dir
    for dir in "${below[@]}"; do [ ! -e "$dir$1" ] || return 0; done
    return 1
}

package_of() { # the Debian package that owns a file, under either spelling of its folder; fails if there is none
    local path found
    for path in "$1" "/usr$1" "${1#/usr}"; do
        if found=$(dpkg-query -S "$path" 2>/dev/null); then
            echo "${found%%: *}" | head -n 1
            return 0
        fi
    done
    return 1
}

record_package() {
    local name=${1%%:*} status="/var/lib/dpkg/status.d/${1%%:*}" copyright="/usr/share/doc/${1%%:*}/copyright"
    if present "$status" || [ -e "$root$status" ]; then return; fi
    mkdir -p "$root/var/lib/dpkg/status.d" "$root/usr/share/doc/$name"
    dpkg-query -s "$1" | sed '/^Conffiles:/,/^[^ ]/{/^Conffiles:/d;/^ /d}' >"$root$status"
    if [ -e "$copyright" ]; then cp -L "$copyright" "$root$copyright"; fi
}

add_file() { # add_file FILE PATH-IN-IMAGE MODE
    mkdir -p "$root$(dirname "$2")"
    install -m "$3" "$1" "$root$2"
}

add_library() { # a library of this machine, under the name by which programs ask for it
    local file package path own
    path=$(place "$1")
    own=/usr/lib/$(basename "$1") # not Debian's: where a program finds it by $ORIGIN/../lib
    if present "$path" || present "$own"; then return; fi
    file=$(readlink -f "$1")
    if package=$(package_of "$file") || package=$(package_of "$1"); then
        add_file "$file" "$path" "$(stat -c %a "$file")" # the loader must be executable
        record_package "$package"
    else
        path=$own
        add_file "$file" "$path" 0644
        strip --strip-unneeded "$root$path"
        if [ -e "$(dirname "$file")/LICENSE" ]; then
            own=$(basename "$path" .so)
            add_file "$(dirname "$file")/LICENSE" "/usr/share/doc/$own/copyright" 0644
        fi
    fi
}

add_libraries_of() {
    local line lines
    lines=$(ldd "$1")
    if grep 'not found' <<<"$lines"; then echo "rootfs: a library of $1 is missing" >&2; exit 69; fi
    while read -r line; do
        case $line in
            *' => /'*) line=${line#*=> } ; add_library "${line%% (*}" ;;
            /*) add_library "${line%% (*}" ;; # the loader
        esac
    done <<<"$lines"
}

add_system() {
    local dir
    for dir in bin lib lib64 sbin; do
        mkdir -p "$root/usr/$dir"
        ln -s "usr/$dir" "$root/$dir"
    done
    mkdir -p "$root/etc/ssl/certs" "$root/proc" "$root/dev" "$root/sys" "$root/var"
    install -d -m 1777 "$root/tmp"
    printf '%s\n' 'root:x:0:0:root:/nonexistent:/usr/sbin/nologin' 'nonroot:x:65532:65532:nonroot:/nonexistent:/usr/sbin/nologin' >"$root/etc/passwd"
    printf '%s\n' 'root:x:0:' 'nonroot:x:65532:' >"$root/etc/group"
    echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
    # Debian's own set, without what this machine trusts besides
    cat /usr/share/ca-certificates/mozilla/*.crt >"$root/etc/ssl/certs/ca-certificates.crt"
    cp -L /etc/os-release "$root/etc/os-release" # scanners choose their database by it
    record_package ca-certificates
    add_file LICENSE /usr/share/doc/trainyard/copyright 0644
}

add_zones() {
    mkdir -p "$root/usr/share/zoneinfo"
    tar -C /usr/share/zoneinfo --exclude=./right --exclude=./posix -c . | tar -C "$root/usr/share/zoneinfo" -x --no-same-owner
    record_package tzdata
}

add_sbom() { # add_sbom IMAGE VERSION
    local created
    created=$(date -u -d "@$(git log -1 --format=%ct 2>/dev/null || echo 0)" +%Y-%m-%dT%H:%M:%SZ)
    mkdir -p "$root/usr/share/sbom"
    images/sbom.py "$1" "$2" "$created" "${below[@]}" "$root" >"$root/usr/share/sbom/$1.spdx.json"
    cp "$root/usr/share/sbom/$1.spdx.json" "$(dirname "$root")/../$1.spdx.json"
}

while [ $# -gt 0 ]; do
    case $1 in
        --below) below+=("$2"); shift ;;
        *) break ;;
    esac
    shift
done
while [ $# -gt 0 ]; do
    case $1 in
        --system) add_system ;;
        --program) add_file "$2" "/usr/bin/$(basename "$2")" 0755; shift ;;
        --library) add_libraries_of "$2"; add_library "$2"; shift ;;
        --libraries-of) add_libraries_of "$2"; shift ;;
        --zones) add_zones ;;
        --sbom) add_sbom "$2" "$3"; shift 2 ;;
        *) echo "rootfs: unknown option $1" >&2; exit 64 ;;
    esac
    shift
done
touch "$root.made"
