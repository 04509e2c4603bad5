module system-monitor

go 1.18
