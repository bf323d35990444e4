#!/bin/bash
# Processes a data set of OpenNeuro: fetches it, runs every participant and the group level.
#
#   openneuro.sh ds000000 [--version 1.0.0] [--image rls_bids.sif] [--jobs N] [-- options of rls_bids]
#
# Data are fetched here, outside of any container, because rls_bids itself never uses the network:
# with datalad where it is installed (one participant at a time, dropped again afterwards, so that
# the whole data set need not fit on the disk), else with openneuro-py (everything at once).
# Who is finished is not fetched again, so the script can be stopped and repeated; to process them
# again with other options, remove the files done-* in the folder -work.
# On a cluster, fetch on a login node (--fetch-only) and write the jobs with rls_bids_slurm.

set -uo pipefail

usage() {
    sed -n '2,4s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

dataset=${1:-}
[[ $dataset =~ ^ds[0-9]{6}$ ]] || usage
shift
version='' image='' fetch_only='' n_cpus=$(nproc)
while [ $# -gt 0 ]; do
    case $1 in
        --version) version=${2:?}; shift 2 ;;
        --image) image=${2:?}; shift 2 ;;
        --jobs) n_cpus=${2:?}; shift 2 ;;
        --fetch-only) fetch_only=yes; shift ;;
        --) shift; break ;;
        *) echo "openneuro.sh: error: There is no option $1." >&2; usage ;;
    esac
done
options=("$@")

raw=$PWD/$dataset
out=$PWD/$dataset-rls_bids
work=$PWD/$dataset-work
mkdir -p "$out" "$work"

# --- the app, bare or within the image: the input can only be read, and there is no network
app() {
    if [ -z "$image" ]; then
        rls_bids "$raw" "$out" "$@" -w "$work" --n-cpus "$n_cpus" ${options[@]+"${options[@]}"}
    else
        apptainer run --cleanenv --containall --no-home \
            --bind "$raw:$raw:ro" --bind "$out" --bind "$work" "$image" \
            "$raw" "$out" "$@" -w "$work" --n-cpus "$n_cpus" ${options[@]+"${options[@]}"}
    fi
}

# --- fetch
with_datalad=
if command -v datalad >/dev/null; then
    with_datalad=yes
    if [ ! -d "$raw" ]; then
        datalad clone "https://github.com/OpenNeuroDatasets/$dataset.git" "$raw" || exit 74
    fi
    if [ -n "$version" ]; then
        git -C "$raw" checkout --quiet "$version" || exit 2
    fi
    # Small files at the top are pointers, too, in some data sets.
    find "$raw" -maxdepth 1 -type l -exec datalad -C "$raw" get {} +
elif command -v openneuro-py >/dev/null; then
    openneuro-py download --dataset "$dataset" ${version:+--tag "$version"} \
        --target-dir "$raw" || exit 74
else
    echo "openneuro.sh: error: Neither datalad nor openneuro-py is here: pip install openneuro-py" >&2
    exit 127
fi

# Prints what of a participant is needed: T1w images, series at rest, field maps.
needed() {
    find "$1" \( -path '*/anat/*T1w*' -o -path '*/func/*task-rest*' -o -path '*/fmap/*' \) -print0
}

status=0
for folder in "$raw"/sub-*/; do
    folder=${folder%/}
    label=${folder##*/}
    [ -e "$work/done-$label" ] && continue
    if [ -n "$with_datalad" ]; then
        needed "$folder" | xargs -0 -r datalad -C "$raw" get || status=1
    fi
    [ -n "$fetch_only" ] && continue
    # What is not there, or cannot be used, is told by the app; the others go on.
    if app participant --participant-label "$label"; then
        touch "$work/done-$label"
        if [ -n "$with_datalad" ]; then
            needed "$folder" | xargs -0 -r datalad -C "$raw" drop >/dev/null
        fi
    else
        status=1
    fi
done
[ -n "$fetch_only" ] && exit "$status"

if [ -f "$raw/participants.tsv" ]; then
    app group || status=1
fi
exit "$status"
