# The engine: source before binary in development, no agent is an error, and an agent that ends ends the container.
cleanup() {
    pkill -P $$ 2>/dev/null
    exit 0
}
trap cleanup TERM INT
if [ -d /system-monitor ]; then
    cd /system-monitor
    if [ "${GO_ENV:-}" = development ] && [ -f main.go ]; then
        CONTAINER_NAME=sirius-engine go run main.go >> /tmp/system-monitor.log 2>&1 &
    elif [ -f ./system-monitor ] && [ -x ./system-monitor ]; then
        CONTAINER_NAME=sirius-engine ./system-monitor >> /tmp/system-monitor.log 2>&1 &
    else
        echo "no system monitor: neither main.go nor binary"
        exit 1
    fi
    monitor=$!
    sleep 2
    kill -0 $monitor 2>/dev/null || monitor=
fi
while :; do
    sleep 1
    if [ -n "$monitor" ] && ! kill -0 $monitor 2>/dev/null; then
        echo "system monitor failed to start or crashed"
        cleanup
    fi
done
