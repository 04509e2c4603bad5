# The database, the broker and the store: the agent beside the service; a signal reaches the service alone.
stop() {
    kill -TERM "$service"
    wait "$service"
    exit 0
}
trap stop TERM INT
sleep 10000 &
service=$!
cd /usr/local/bin
CONTAINER_NAME=$1 ./system-monitor >> /tmp/system-monitor.log 2>&1 &
echo "system monitor started with PID $!"
wait "$service"
