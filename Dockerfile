# One image for every process of the stack: docker-compose.yml says which one a container runs.
FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
COPY requirements.txt .
# compiled here: uncompiled imports make the start four times as long, and nobody may write to /venv later
RUN /venv/bin/pip install --quiet -r requirements.txt && /venv/bin/python -m compileall -q -j 0 /venv/lib

FROM python:3.11-slim-bookworm
# libgomp: LightGBM's; nothing else is asked of the system
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/* \
  && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin quarterdeck \
  && install -d -o quarterdeck -g quarterdeck -m 700 /state
COPY --from=build /venv /venv
WORKDIR /app
COPY manage.py pyproject.toml requirements.txt ./
COPY trader trader
COPY apps apps
COPY celery_worker celery_worker
COPY templates templates
COPY static static
RUN /venv/bin/python -m compileall -q trader apps celery_worker
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 QD_RUNTIME_STATE_DIR=/state
USER quarterdeck
VOLUME /state
EXPOSE 8800 8899
STOPSIGNAL SIGTERM
CMD ["python", "manage.py", "process", "web"]
