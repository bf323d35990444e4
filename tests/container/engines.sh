# Functions of tests/container/run: a place to work, docker, a base image, Apptainer.
# shellcheck shell=bash

base=python:3.11-slim-bookworm
needed_gb=9
own_docker=no
no_apptainer=''
DOCKER=docker

install_packages() {
  apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

free_gb() { df --output=avail -BG "$1" | tail -n 1 | tr -dc 0-9; }

# A folder that other users can enter: on disk, else in memory where there is plenty of it.
make_scratch() {
  local parent=${RLS_BIDS_CONTAINER_DIR:-${TMPDIR:-/tmp}} memory
  scratch=$(mktemp -d -p "$parent")
  chmod 755 "$scratch"
  [ "$(free_gb "$parent")" -lt "$needed_gb" ] || return 0
  memory=$(awk '/^MemAvailable/ {print int($2 / 1e6)}' /proc/meminfo)
  if [ "$(id -u)" = 0 ] && [ "$memory" -ge $((needed_gb + 5)) ] &&
    mount -t tmpfs -o "size=${needed_gb}g,mode=755" tmpfs "$scratch"; then
    say "$parent has less than $needed_gb GB of free space; memory is used ($memory GB available)"
  else
    skip "$parent has less than $needed_gb GB of free space; RLS_BIDS_CONTAINER_DIR may name another folder"
  fi
}

start_docker() {
  if docker info >/dev/null 2>&1; then
    say "docker $(docker version --format '{{.Server.Version}}') answers"
    return
  fi
  [ "$(id -u)" = 0 ] || skip 'docker does not answer, and only root can start one'
  if ! command -v dockerd >/dev/null; then
    command -v apt-get >/dev/null || skip 'docker does not answer, and there is no apt-get to install it'
    install_packages docker.io || skip 'docker does not answer, and docker.io could not be installed'
  fi
  # The client that belongs to the daemon: another one may lack what BuildKit needs.
  [ ! -x /usr/bin/docker ] || DOCKER=/usr/bin/docker
  mkdir "$scratch/docker"
  export DOCKER_HOST="unix://$scratch/docker/socket"
  # No bridge and no firewall rules: nothing of the host's network is changed.
  setsid dockerd --host "$DOCKER_HOST" --pidfile "$scratch/docker/pid" \
    --data-root "$scratch/docker/data" --exec-root "$scratch/docker/exec" \
    --bridge none --iptables=false --ip6tables=false >"$scratch/docker/log" 2>&1 </dev/null &
  own_docker=yes
  for _ in $(seq 150); do
    ! "$DOCKER" info >/dev/null 2>&1 || { say 'a docker of our own is up'; return; }
    sleep 0.2
  done
  tail -n 5 "$scratch/docker/log"
  skip 'dockerd does not start on this machine (see above)'
}

stop_docker() {
  [ "$own_docker" = yes ] && [ -s "$scratch/docker/pid" ] || return 0
  local pid
  pid=$(cat "$scratch/docker/pid")
  "$DOCKER" ps --quiet | xargs -r "$DOCKER" kill >/dev/null 2>&1 || true
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 150); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.2
  done
}

# The official image where a registry can be reached; else Debian's Python under its name.
provide_base() {
  "$DOCKER" image inspect "$base" >/dev/null 2>&1 && { say "$base is here"; return; }
  timeout 120 "$DOCKER" pull --quiet "$base" >/dev/null 2>&1 && { say "$base was pulled"; return; }
  [ "$(id -u)" = 0 ] || skip "$base cannot be pulled, and only root can make a stand-in"
  command -v mmdebstrap >/dev/null || install_packages mmdebstrap ||
    skip "$base cannot be pulled, and mmdebstrap could not be installed"
  say "$base cannot be pulled: a STAND-IN is made of Debian packages (Python in /usr, not /usr/local)"
  local mirror options=()
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)
  # Where the host trusts authorities of its own, as behind a proxy, pip in the build must too.
  if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
    options+=(--customize-hook='copy-in /usr/local/share/ca-certificates /usr/local/share'
      --customize-hook='chroot "$1" update-ca-certificates')
  fi
  mmdebstrap --quiet --variant=minbase \
    --include=ca-certificates,python3.11-venv,python3-pip \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --customize-hook='rm "$1"/usr/lib/python3.11/EXTERNALLY-MANAGED' \
    --customize-hook='ln -s /usr/bin/python3.11 "$1"/usr/local/bin/python' \
    "${options[@]}" bookworm "$scratch/base.tar" "$mirror" >"$scratch/base.log" 2>&1 ||
    { tail -n 5 "$scratch/base.log"; skip 'the stand-in could not be made (see above)'; }
  "$DOCKER" import --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' \
    "$scratch/base.tar" "$base" >/dev/null
  rm "$scratch/base.tar"
}

# Apptainer, and an ordinary user for it: `ordinary COMMAND` runs without privileges or environment.
provide_apptainer() {
  no_apptainer='only root can become an ordinary user here'
  [ "$(id -u)" = 0 ] || return 1
  no_apptainer='it is not installed and could not be'
  APPTAINER=$(command -v apptainer) || APPTAINER=$scratch/apptainer/bin/apptainer
  if [ ! -x "$APPTAINER" ]; then
    if install_packages apptainer 2>/dev/null; then
      APPTAINER=$(command -v apptainer)
    else
      "$here/apptainer.sh" "$scratch/apptainer" >"$scratch/apptainer.log" 2>&1 ||
        { tail -n 5 "$scratch/apptainer.log"; return 1; }
    fi
  fi
  [ -w /dev/fuse ] || { no_apptainer='there is no /dev/fuse'; return 1; }
  # As udev has it; without, nobody but root mounts a SIF.
  chmod 666 /dev/fuse
  install -d -o nobody "$scratch/nobody"
  export RLS_BIDS_APPTAINER=$APPTAINER
  no_apptainer="it does not run for an ordinary user: $(ordinary "$APPTAINER" version 2>&1)" || return 1
  say "apptainer $(ordinary "$APPTAINER" version)"
}

ordinary() {
  setpriv --reuid 65534 --regid 65534 --clear-groups env -i LANG=C.UTF-8 \
    HOME="$scratch/nobody" TMPDIR="$scratch/nobody" PATH=/usr/bin:/bin:/usr/sbin:/sbin "$@"
}

make_sif() {
  export RLS_BIDS_SIF=$scratch/nobody/rls_bids.sif
  "$DOCKER" save --output "$scratch/nobody/rls_bids.tar" rls_bids:e2e
  chmod 644 "$scratch/nobody/rls_bids.tar"
  cp "$repo/rls_bids.def" "$scratch/nobody"
  (cd "$scratch/nobody" && ordinary "$APPTAINER" build --mksquashfs-args '-comp zstd -Xcompression-level 3' \
    rls_bids.sif rls_bids.def >"$scratch/sif.log" 2>&1) || { tail -n 20 "$scratch/sif.log"; return 1; }
  rm "$scratch/nobody/rls_bids.tar"
}
