# Valkey with the agent beside it, which writes to the server that it watches.
#
#   docker build --file valkey.Dockerfile --tag my-valkey .
ARG AGENT=system-monitor
ARG BASE=valkey/valkey:8-alpine
FROM ${AGENT} AS agent
FROM ${BASE}
COPY --from=agent /system-monitor /with-monitor /usr/local/bin/
ENV CONTAINER_NAME=valkey VALKEY_HOST=127.0.0.1
ENTRYPOINT ["with-monitor", "docker-entrypoint.sh"]
CMD ["valkey-server"]
