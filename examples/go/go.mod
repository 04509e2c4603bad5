module system-monitor/examples/reader

go 1.19
