# Three stages: dependencies (kept while pyproject.toml and constraints.txt stay), wheel, runtime.
FROM python:3.11-slim-bookworm AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /opt/venv
COPY pyproject.toml constraints.txt ./
# The dependencies alone, so that a change of the source does not install them again.
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > requirements.txt \
 && /opt/venv/bin/pip install -r requirements.txt -c constraints.txt

FROM python:3.11-slim-bookworm AS wheel
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /build
COPY . .
RUN pip wheel --no-deps --wheel-dir /dist .

FROM python:3.11-slim-bookworm AS runtime
LABEL org.opencontainers.image.title="rls_bids" \
      org.opencontainers.image.description="Functional connectivity in restless legs syndrome, from raw BIDS data to group inference" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=wheel /dist /dist
# An ordinary user, and a folder that any other user (--user, Apptainer) may write to as well.
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --no-index /dist/*.whl \
 && rm -r /dist \
 && groupadd --gid 1000 rls \
 && useradd --uid 1000 --gid 1000 --no-create-home --shell /usr/sbin/nologin rls \
 && install -d -m 1777 /scratch
# The app moves whatever cannot be written here into its work directory.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONNOUSERSITE=1 \
    PYTHONUNBUFFERED=1 \
    OMP_NUM_THREADS=1 \
    OPENBLAS_NUM_THREADS=1 \
    MKL_NUM_THREADS=1 \
    ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS=1 \
    NO_ET=1 \
    HOME=/scratch \
    MPLCONFIGDIR=/scratch/.cache/matplotlib \
    XDG_CACHE_HOME=/scratch/.cache \
    NUMBA_CACHE_DIR=/scratch/.cache/numba
WORKDIR /scratch
USER 1000:1000
ENTRYPOINT ["rls_bids"]
