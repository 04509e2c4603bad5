# The page in production: the agent if its file is there and executable.
if [ -f /system-monitor/system-monitor ] && [ -x /system-monitor/system-monitor ]; then
    cd /system-monitor
    CONTAINER_NAME=sirius-ui ./system-monitor >> /tmp/system-monitor.log 2>&1 &
    echo "system monitor started with PID $!"
    cd /
fi
exec sleep 10000
