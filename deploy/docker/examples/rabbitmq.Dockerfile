# RabbitMQ with the agent beside it.
#
#   docker build --file rabbitmq.Dockerfile --tag my-rabbitmq .
ARG AGENT=system-monitor
ARG BASE=rabbitmq:4-management
FROM ${AGENT} AS agent
FROM ${BASE}
COPY --from=agent /system-monitor /with-monitor /usr/local/bin/
ENV CONTAINER_NAME=rabbitmq VALKEY_HOST=valkey
ENTRYPOINT ["with-monitor", "docker-entrypoint.sh"]
CMD ["rabbitmq-server"]
