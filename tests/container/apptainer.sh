#!/usr/bin/env bash
# Put Apptainer where the release of Debian has none: the package of Debian's development branch in a
# folder of its own, with the C library it was built for beside it. Nothing else of the host changes,
# but for the programs that it calls.
#
#   tests/container/apptainer.sh FOLDER
set -euo pipefail

target=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

helpers=(patchelf squashfs-tools squashfuse uidmap fuse-overlayfs fuse2fs)
dpkg --status "${helpers[@]}" >/dev/null 2>&1 || {
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${helpers[@]}"
}

# Lists and packages of the other branch stay in the work folder, out of the host's apt.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)
mkdir -p "$work"/{lists/partial,archives/partial,tree}
chown -R _apt "$work"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$work/sources.list"
other=(-o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
  -o "Dir::State::Lists=$work/lists" -o "Dir::Cache::Archives=$work/archives"
  -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache=")
apt-get "${other[@]}" update -qq
(cd "$work" && apt-get "${other[@]}" download -qq apptainer libc6 libseccomp2 libsqlite3-0)
for package in "$work"/*.deb; do dpkg-deb --extract "$package" "$work/tree"; done

libraries=$work/tree/usr/lib/x86_64-linux-gnu
mkdir -p "$target"/{bin,libc,lib/x86_64-linux-gnu,var/lib/apptainer/mnt/session}
cp -L "$libraries"/{ld-linux-x86-64.so.2,lib{c,m,dl,resolv,pthread}.so.[0-9]*,libseccomp.so.2,libsqlite3.so.0} "$target/libc"
cp -a "$work/tree/etc" "$target"
cp -a "$libraries/apptainer" "$target/lib/x86_64-linux-gnu"
cp -a "$work/tree/usr/bin/apptainer" "$target/bin"
# Its starter looks for the configuration two folders above itself, which is lib in Debian's layout.
for name in etc var bin; do ln -s "../$name" "$target/lib/$name"; done
ln -s . "$target/lib/lib"
for program in "$target/bin/apptainer" "$target/lib/x86_64-linux-gnu/apptainer/bin/starter"; do
  patchelf --set-interpreter "$target/libc/ld-linux-x86-64.so.2" \
    --set-rpath "$target/libc" --force-rpath "$program"
done
"$target/bin/apptainer" --version
