# A service of your own on Ubuntu, as a user without privileges, with the agent beside it.
#
#   docker build --file ubuntu.Dockerfile --tag my-service .
ARG AGENT=system-monitor
ARG BASE=ubuntu:24.04
FROM ${AGENT} AS agent
FROM ${BASE}
COPY --from=agent /system-monitor /with-monitor /usr/local/bin/
ENV CONTAINER_NAME=service VALKEY_HOST=valkey
USER 1000:1000
ENTRYPOINT ["with-monitor"]
# Replace this with your service.
CMD ["sleep", "infinity"]
