# syntax=docker/dockerfile:1
# Stage 1 builds the wheel and a virtual environment of its own, from locked dependencies; stage 2 gets the environment
# and no compiler and no sources.  Every dependency comes as a wheel: --only-binary says so if that changes.

FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements.lock ./
RUN python -m venv --without-pip /opt/tsi-fetch \
 && pip --python /opt/tsi-fetch/bin/python install --only-binary :all: --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY jobs jobs
COPY sources sources
COPY sinks sinks
COPY store store
COPY tsi_fetch tsi_fetch
RUN pip wheel --no-deps --wheel-dir /wheels . \
 && pip --python /opt/tsi-fetch/bin/python install --no-deps --no-index /wheels/*.whl

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="tsi-fetch" \
      org.opencontainers.image.source="https://github.com/Gravitate-Health/tsi-fetch" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/tsi-fetch /opt/tsi-fetch
ENV PATH=/opt/tsi-fetch/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# numeric, so that Kubernetes can see that it is not root; it owns nothing, and needs to write nowhere but /tmp
USER 65532:65532
WORKDIR /
HEALTHCHECK NONE
ENTRYPOINT ["tsi-fetch"]
CMD ["--help"]
