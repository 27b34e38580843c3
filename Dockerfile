# syntax=docker/dockerfile:1
# Highwater, with exactly the packages of requirements-run.lock, checked by hash.
#   docker build --tag registry.example/highwater:0.1.0 .
# For a build that is the same at any time, name the base by its digest: --build-arg BASE=python:3.12.12-slim-bookworm@sha256:...
ARG BASE=python:3.12.12-slim-bookworm

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
RUN python -m venv /opt/highwater
ENV PATH=/opt/highwater/bin:$PATH
WORKDIR /build
COPY requirements-run.lock ./
RUN pip install --require-hashes --requirement requirements-run.lock && pip uninstall --yes pip
# The package is pure Python, so nothing is built. Dates are set, since compiled kernels are cached by them.
COPY dataflows dataflows
# A link in the package leads here.
COPY examples/trucks/fleet.toml examples/trucks/fleet.toml
RUN find dataflows examples -exec touch --date=@1767225600 {} + \
    && cp --recursive --dereference --preserve=timestamps dataflows "$(python -c 'import site; print(site.getsitepackages()[0])')" \
    && rm --recursive dataflows \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/highwater/lib
# A small run compiles the kernels into the package: the container's root file system cannot be written.
RUN python -m dataflows simulate --out data --trucks 2 --days 5 --every 1h \
    && FLEET_INPUT=data/events.jsonl FLEET_OUTPUT=out python -m dataflows run examples/trucks/fleet.toml --recovery store

FROM ${BASE}
LABEL org.opencontainers.image.title="highwater" org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/highwater /opt/highwater
ENV PATH=/opt/highwater/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["python", "-m", "dataflows"]
