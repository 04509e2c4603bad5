# The API in development: as the page, in an image that has Go.
if [ -f /system-monitor/main.go ]; then
    cd /system-monitor
    CONTAINER_NAME=sirius-api go run main.go >> /tmp/system-monitor.log 2>&1 &
    cd /
else
    echo "warning: no system monitor"
fi
exec sleep 10000
