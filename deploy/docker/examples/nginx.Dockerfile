# nginx on Alpine with the agent beside it. The static binary runs there although Alpine has another C library.
#
#   docker build --file nginx.Dockerfile --tag my-nginx .
ARG AGENT=system-monitor
ARG BASE=nginx:alpine
FROM ${AGENT} AS agent
FROM ${BASE}
COPY --from=agent /system-monitor /with-monitor /usr/local/bin/
ENV CONTAINER_NAME=nginx VALKEY_HOST=valkey
ENTRYPOINT ["with-monitor", "/docker-entrypoint.sh"]
CMD ["nginx", "-g", "daemon off;"]
# Graceful shutdown as in the base image; with-monitor forwards the signal.
STOPSIGNAL SIGQUIT
