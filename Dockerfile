# One image for every service of docker-compose.yaml: Airflow, MLflow and the scoring service share the lock.
FROM python:3.11-slim AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH

# The lock alone first: a change of our code does not install 200 packages again.
COPY requirements.txt /build/
RUN pip install --require-hashes --requirement /build/requirements.txt

# hatchling comes from the lock, so nothing is fetched without a hash.
COPY pyproject.toml README.md LICENSE /build/
COPY ml /build/ml
COPY plugins /build/plugins
RUN pip install --no-deps --no-build-isolation /build


FROM python:3.11-slim

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PERENNIAL_HOME=/opt/perennial \
    PERENNIAL_VAR=/var/lib/perennial \
    AIRFLOW_HOME=/var/lib/perennial/airflow

# A new named volume takes over the owner of the folder it covers: this is how /var/lib/perennial becomes writable.
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin perennial \
    && mkdir -p /var/lib/perennial/airflow /var/lib/perennial/mlflow \
    && chown -R perennial:perennial /var/lib/perennial

COPY --from=build /opt/venv /opt/venv
WORKDIR /opt/perennial
COPY use_cases use_cases
COPY alerts.yaml alerts.yaml
COPY pipeline.yaml pipeline.yaml
COPY data data
COPY dags dags
COPY plugins plugins

USER perennial
