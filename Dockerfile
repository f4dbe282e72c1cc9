# One Dockerfile for api, workers and indexer: docker-compose.yml tells them apart by their command and their extras.
FROM python:3.11-slim

ARG EXTRAS=service,minilm

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    NUMBA_CACHE_DIR=/tmp/numba \
    TRANSFERSET_ARTIFACTS=/artifacts

# Nobody in particular, with a folder of its own: a named volume mounted there takes over its owner.
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin transferset \
    && install --directory --owner transferset --group transferset /artifacts

WORKDIR /app
COPY pyproject.toml constraints.txt README.md transferset.py ./
COPY contract ./contract
COPY jobs ./jobs
COPY indexer ./indexer
COPY service ./service
COPY distill ./distill
COPY demo ./demo
RUN pip install --constraint constraints.txt ".[${EXTRAS}]"

USER transferset
VOLUME /artifacts
EXPOSE 8000
CMD ["transferset", "serve"]
