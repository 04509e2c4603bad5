# The page in development: only ever `go run`, and only where there is a main.go.
if [ -d /system-monitor ] && [ -f /system-monitor/main.go ]; then
    cd /system-monitor
    CONTAINER_NAME=sirius-ui go run main.go >> /tmp/system-monitor.log 2>&1 &
    cd /
else
    echo "warning: no system monitor"
fi
exec sleep 10000
