# The same steps as on a machine: `make install`, then Streamlit. Build and start it with: docker compose up --build
FROM python:3.11-slim

# hadolint ignore=DL3008 # Debian keeps one version of make, and an old pin would not be found.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 10001 steerscope && install --directory --owner steerscope /store

WORKDIR /app

# The CPU builds of torch; for CUDA: docker compose build --build-arg PIP_EXTRA_INDEX_URL=
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1
COPY Makefile requirements.txt ./
RUN make install

COPY . .

USER 10001
ENV STEERSCOPE_HOME=/store
VOLUME /store
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD [".venv/bin/python", "-c", "import urllib.request as web; web.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
# All addresses of the container; compose.yaml publishes the port on this machine's loopback alone.
CMD [".venv/bin/streamlit", "run", "app.py", "--server.headless", "true", "--server.address", "0.0.0.0", "--server.port", "8501"]
