# PostgreSQL with the agent beside it. The database runs as `postgres`, as in the base image's entry point.
#
#   docker build --file postgresql.Dockerfile --tag my-postgresql .
ARG AGENT=system-monitor
ARG BASE=postgres:16-alpine
FROM ${AGENT} AS agent
FROM ${BASE}
COPY --from=agent /system-monitor /with-monitor /usr/local/bin/
ENV CONTAINER_NAME=postgresql VALKEY_HOST=valkey
ENTRYPOINT ["with-monitor", "docker-entrypoint.sh"]
CMD ["postgres"]
# A "fast" shutdown, as in the base image; with-monitor forwards the signal.
STOPSIGNAL SIGINT
